package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestVersionPrefersTheBuildsOwnWord(t *testing.T) {
	old := commit
	defer func() { commit = old }()
	commit = "v1.2.3-4-gabcdef0"
	assert.Regexp(t, `^v1\.2\.3-4-gabcdef0 \(go`, version())
	commit = ""
	assert.Regexp(t, `^(unknown commit|[0-9a-f]{12})(\+changes)? \(go`, version())
}
