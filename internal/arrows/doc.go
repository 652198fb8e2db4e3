// Package arrows holds the module to its own rules: which package may import which, who may use cgo or gotch,
// how long files and functions may grow, and that what is exported is documented. Its tests read the source
// of the whole module and list every offence with its place; the rules themselves are tables in this package.
package arrows
