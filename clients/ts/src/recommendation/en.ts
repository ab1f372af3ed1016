/** The English catalogue. */

import type { Catalogue } from './recommendation.ts'

/** English. */
export const english: Catalogue = {
  classes: {
    auth: ['Signed out', 'Please sign in again.'],
    network: ['Connection lost', 'Reconnecting.'],
    server: ['Service unavailable', 'The service is not available right now; trying again.'],
    rate_limit: ['Too many attempts', 'Please wait a moment.'],
    policy: ['No access', 'You do not have access to this.'],
    protocol: ['Something does not fit', 'Please reload the application.'],
    timeout: ['Slow connection', 'The connection is too slow; trying again.'],
  },
  offline: ['You are offline', 'Reconnecting as soon as there is a network.'],
  dormant: ['Still not connected', 'Trying again from time to time.'],
  stopped: ['Not connected', 'Please try again.'],
  slow: ['Slow connection', 'Messages may be late.'],
}
