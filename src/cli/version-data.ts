/** The version, in a file of its own so that a release changes one line; `package.json` says the same (a test holds them together). */
export const VERSION = '0.1.0'
