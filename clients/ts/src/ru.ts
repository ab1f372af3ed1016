/** `@bowline/client/ru`: the Russian catalogue. */

export { russian } from './recommendation/ru.ts'
