// Package recipes holds the recipes that are part of the program.
package recipes

import _ "embed"

// Demo is the recipe of `salsa run demo`.
//
//go:embed demo.yaml
var Demo []byte
