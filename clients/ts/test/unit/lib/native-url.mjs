// React Native's own `URL`, for the unit tests and for `npm run metro`, which Node runs as it is.

/** It adds a slash to whatever it is given, joins by text, and does not know its parts. */
export class NativeURL {
  /**
   * @param {string} url
   * @param {string} [base]
   */
  constructor(url, base) {
    this.href = base ? `${base}/${url}` : url.endsWith('/') ? url : `${url}/`
  }
  get origin() {
    throw new Error('URL.origin is not implemented')
  }
  get hostname() {
    throw new Error('URL.hostname is not implemented')
  }
  get protocol() {
    throw new Error('URL.protocol is not implemented')
  }
}
