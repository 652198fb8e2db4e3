package tokenizer

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestVocabAsJSON holds the fast reading to encoding/json's.
func TestVocabAsJSON(t *testing.T) {
	l := &loader{file: "t.json"}
	for _, raw := range []string{
		`{}`, ` { } `, `{"a":0}`, "{\n \"a\" : 0 ,\t\"b\":16777215\r}", `{"\"":1,"\\":2,"\u2581a":3,"\ud83d\ude00":4,"▁":5}`,
		`{"a":-1}`, `{"a":4294967295}`, `{"a":1e3}`, `{"a":1.5}`, `{"a":null}`, `{"a":"1"}`, `{"a":99999999999999999999}`, `[1]`, `7`,
		"{\"\xff\xfe\":1,\"\xe2\x96x\":2}",
	} {
		var want map[string]int64
		refused := json.Unmarshal([]byte(raw), &want)
		entries, err := l.vocabEntries(json.RawMessage(raw))
		if refused != nil {
			requireOneLine(t, err, "t.json: model.vocab: cannot unmarshal")
			continue
		}
		require.NoError(t, err, raw)
		got := map[string]int64{}
		for _, e := range entries {
			got[e.token] = e.id
		}
		assert.Equal(t, want, got, raw)
		assert.Len(t, entries, len(want), raw)
	}
}

// TestVocabListedTwice holds that the last of two equal keys counts, as it does for encoding/json.
func TestVocabListedTwice(t *testing.T) {
	tok, err := parseJSON("t.json", []byte(`{"model":{"type":"BPE","vocab":{"a":0,"b":1,"a":2,"a":2,"c":0},"merges":[]}}`))
	require.NoError(t, err)
	assert.Equal(t, []string{"c", "b", "a"}, tok.model.tokens)
	_, err = parseJSON("t.json", []byte(`{"model":{"type":"BPE","vocab":{"a":0,"b":1,"a":1},"merges":[]}}`))
	requireOneLine(t, err, `id 1 belongs to both "a" and "b"`)
}

func TestMergesAsJSON(t *testing.T) {
	l := &loader{file: "t.json"}
	want := [][2]string{{"a", "b\""}, {"▁", "\u2581"}}
	for _, raw := range []string{`["#version: 0.2", "a b\"" , "▁ \u2581"]`, ` [ ["a","b\""], [ "▁" , "\u2581" ] ]`} {
		got, err := l.mergePairs(json.RawMessage(raw))
		require.NoError(t, err, raw)
		assert.Equal(t, want, got)
	}
	for _, raw := range []string{`{}`, `["a b", 1]`, `[["a","b"],"a b"]`, `[["a",["b"]]]`, `[[1,2]]`, `"a b"`} {
		_, err := l.mergePairs(json.RawMessage(raw))
		requireOneLine(t, err, "t.json: model.merges: is neither")
	}
}

// TestCut holds that what is cut out and what is left make up the object.
func TestCut(t *testing.T) {
	for _, c := range []struct{ raw, rest, a, b string }{
		{`{}`, `{}`, ``, ``},
		{` {"a" : 1 } `, `{}`, `1 `, ``},
		{`{"x":{"a":[1,"}]"]},"a":{"k":"]}\"{"},"y":null}`, `{"x":{"a":[1,"}]"]},"y":null}`, `{"k":"]}\"{"}`, ``},
		{`{"b":[[],{}],"a":"s","z":true, "b" :2}`, `{"z":true}`, `"s"`, `2`},
		{`{"\u0061":"\\"}`, `{}`, `"\\"`, ``},
		{`["a"]`, `["a"]`, ``, ``},
		{`7`, `7`, ``, ``},
	} {
		rest, values := cut([]byte(c.raw), "a", "b")
		assert.Equal(t, c.rest, string(rest), c.raw)
		assert.Equal(t, c.a, string(values["a"]), c.raw)
		assert.Equal(t, c.b, string(values["b"]), c.raw)
	}
}
