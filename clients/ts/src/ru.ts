/** `@bowline/client/ru`: the Russian catalogue. */

export { russian, russianLabels } from './recommendation/ru.ts'
