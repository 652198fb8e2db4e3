package tokenizer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
)

// requireOneLine holds that err is an input error of one line that contains want.
func requireOneLine(t *testing.T, err error, want string) {
	t.Helper()
	require.ErrorContains(t, err, want)
	assert.NotContains(t, err.Error(), "\n")
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
}

// TestRefusals holds that what is not supported is named, with the file and the key.
func TestRefusals(t *testing.T) {
	const bpe = `"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}`
	model := func(fields string) string { return `{"model":{"type":"BPE",` + fields + `}}` }
	part := func(fields string) string { return `{` + fields + `,` + bpe + `}` }
	for _, c := range []struct{ json, want string }{
		{`{`, `t.json: JSON: line 1, column 1: unexpected end of JSON input`},
		{"{\n\"a\":\n]", `t.json: JSON: line 3, column 1: invalid character ']'`},
		{`[]`, `t.json: JSON: `},
		{`{}`, `t.json: model: is missing`},
		{`{"version":"2.0",` + bpe + `}`, `t.json: version: "2.0" is not supported`},
		{`{"model":{"type":"Unigram"}}`, `t.json: model.type: "Unigram" is not supported: only BPE is`},
		{`{"model":{"type":"WordPiece"}}`, `t.json: model.type: "WordPiece" is not supported`},
		{`{"model":{"type":"WordLevel"}}`, `t.json: model.type: "WordLevel" is not supported`},
		{model(`"vocab":{"a":0},"merges":[],"dropout":0.1`), `t.json: model.dropout: 0.1 is not supported`},
		{model(`"vocab":{"a":0},"merges":[],"end_of_word_suffix":"</w>"`), `t.json: model.end_of_word_suffix: "</w>" is not supported`},
		{model(`"vocab":{"a":0},"merges":[],"continuing_subword_prefix":"##"`), `t.json: model.continuing_subword_prefix: "##"`},
		{model(`"vocab":{"a":0},"merges":[],"novel":1`), `t.json: model: unknown field "novel"`},
		{model(`"vocab":{"a":0},"merges":[],"unk_token":"u"`), `t.json: model.unk_token: "u" is not in model.vocab`},
		{model(`"vocab":{"a":0}`), `t.json: model: needs "vocab" and "merges"`},
		{model(`"vocab":{"a":-1},"merges":[]`), `t.json: model.vocab: id -1 of "a" is outside`},
		{model(`"vocab":{"a":4294967295},"merges":[]`), `t.json: model.vocab: id 4294967295 of "a" is outside`},
		{model(`"vocab":{"a":1,"b":1},"merges":[]`), `t.json: model.vocab: id 1 belongs to both "a" and "b"`},
		{model(`"vocab":{"a":0},"merges":["a"]`), `t.json: model.merges[0]: "a" is not two tokens`},
		{model(`"vocab":{"a":0},"merges":[["a"]]`), `t.json: model.merges[0]: has 1 parts`},
		{model(`"vocab":{"a":0},"merges":[7]`), `t.json: model.merges: is neither`},
		{model(`"vocab":{"a":0,"b":1},"merges":["a b"]`), `t.json: model.merges[0]: "a" + "b"`},
		{part(`"normalizer":{"type":"Precompiled","precompiled_charsmap":""}`), `t.json: normalizer.type: normalizer "Precompiled" is not supported`},
		{part(`"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Nmt"}]}`), `t.json: normalizer.normalizers[1].type: normalizer "Nmt"`},
		{part(`"normalizer":{"type":"NFC","x":1}`), `t.json: normalizer: unknown field "x"`},
		{part(`"normalizer":{"type":"Replace","pattern":{"String":""},"content":""}`), `t.json: normalizer.pattern: needs a non-empty`},
		{part(`"normalizer":{"type":"Sequence"}`), `t.json: normalizer.normalizers: is not a list`},
		{part(`"pre_tokenizer":{"type":"UnicodeScripts"}`), `t.json: pre_tokenizer.type: pre-tokenizer "UnicodeScripts" is not supported`},
		{part(`"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(?<n>a)b"},"behavior":"Isolated","invert":false}`), `t.json: pre_tokenizer.pattern: pattern "(?<n>a)b" at byte 1: group (?<n is not supported`},
		{part(`"pre_tokenizer":{"type":"Split","pattern":{"Regex":"a"},"behavior":"Other"}`), `t.json: pre_tokenizer.behavior: "Other"`},
		{part(`"pre_tokenizer":{"type":"Metaspace","replacement":"ab"}`), `t.json: pre_tokenizer.replacement: "ab" is not one character`},
		{part(`"pre_tokenizer":{"type":"Metaspace","replacement":"_","prepend_scheme":"last"}`), `t.json: pre_tokenizer.prepend_scheme: "last"`},
		{part(`"pre_tokenizer":{"type":"Metaspace","replacement":"_","add_prefix_space":false}`), `t.json: pre_tokenizer.add_prefix_space`},
		{part(`"decoder":{"type":"CTC"}`), `t.json: decoder.type: decoder "CTC" is not supported`},
		{part(`"decoder":{"type":"Strip","content":"","start":1,"stop":0}`), `t.json: decoder.content: "" is not one character`},
		{part(`"post_processor":{"type":"Other"}`), `t.json: post_processor.type: post-processor "Other" is not supported`},
		{part(`"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x","type_id":0}}],"pair":[],"special_tokens":{}}`), `t.json: post_processor.single[0]: "x" has no valid entry`},
		{part(`"post_processor":{"type":"TemplateProcessing","single":[],"pair":[],"special_tokens":{}}`), `t.json: post_processor.single: has no Sequence "A"`},
		{part(`"post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"B","type_id":0}}],"pair":[],"special_tokens":{}}`), `t.json: post_processor.single[0]: only one Sequence "A"`},
		{part(`"added_tokens":[{"id":3,"content":"x","novel":true}]`), `t.json: added_tokens: unknown field "novel"`},
		{part(`"added_tokens":[{"id":3,"content":" ","normalized":true}],"normalizer":{"type":"Strip","strip_left":true,"strip_right":true}`), `t.json: added_tokens " ": is empty after the normalizer`},
		{part(`"added_tokens":[{"id":3,"content":"X","normalized":true},{"id":4,"content":"x","normalized":true}],"normalizer":{"type":"Lowercase"}`), `t.json: added_tokens "x": matches the same text`},
	} {
		_, err := parseJSON("t.json", []byte(c.json))
		if assert.Error(t, err, c.json) {
			requireOneLine(t, err, c.want)
		}
	}
}

func TestLoadRefusesPaths(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(dir)
	requireOneLine(t, err, "neither tokenizer.json nor tokenizer.model")
	_, err = Load(filepath.Join(dir, "none"))
	requireOneLine(t, err, "none")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.model"), []byte("IQ== 0\nIg== 1\n"), 0o600))
	_, err = Load(dir)
	requireOneLine(t, err, "is not a SentencePiece model")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte("{\n oops"), 0o600))
	_, err = Load(dir)
	requireOneLine(t, err, "tokenizer_config.json: line 2, column 2")
}

// TestPatternRefusals holds that syntax which would be read differently is refused.
func TestPatternRefusals(t *testing.T) {
	for _, src := range []string{
		`(`, `)`, `a)`, `[a`, `[]`, `[a[b]]`, `[a&&b]`, `[b-a]`, `[[:alpha:]]`, `a{3,1}`, `a{9999}`, `a{x}`, `a{1`,
		`*a`, `\h`, `\R`, `\Ga`, `a{0,2}+`, `\1`, `\p{Greek}`, `\pL`, `\p{L`, `\`, `\x{110000}`, `\xZZ`, `\xff`, `(?<!aa)b`, `(?<=a|bc)b`, `^*`, `(?m:a)`, `(?#c)`,
		`(?:a*)*`, `(a|)+`, strings.Repeat("(", 200) + strings.Repeat(")", 200), `((((a{1000}){1000}){1000}){1000}){1000}`,
	} {
		_, err := compilePattern(src)
		assert.Error(t, err, src)
	}
}
