/** What was thrown, in words, without what may be secret in a URL. */
export function causeOf(error: unknown): string {
  let text = 'something that is no text'
  try {
    text = `${error}`
  } catch {
    // A symbol, or an object without a prototype.
  }
  return text.replace(/[?#]\S+/g, '?…').replace(/\/\/[^/\s]*@/g, '//')
}
