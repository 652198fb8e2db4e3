package tokenizer

import (
	"bufio"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// variant is a random wiring around a golden vocabulary, with the answers of Hugging Face's library.
type variant struct {
	Base  string                     `json:"base"`
	Patch map[string]json.RawMessage `json:"patch"`
	Rows  []goldenRow                `json:"rows"`
}

// file returns the tokenizer.json of the variant.
func (v *variant) file(t *testing.T) []byte {
	t.Helper()
	var layout, model map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(readGzip(t, "testdata/golden/"+v.Base+".tokenizer.json.gz"), &layout))
	require.NoError(t, json.Unmarshal(layout["model"], &model))
	for key, value := range v.Patch {
		layout[key] = value
	}
	require.NoError(t, json.Unmarshal(v.Patch["model"], &model))
	var err error
	layout["model"], err = json.Marshal(model)
	require.NoError(t, err)
	data, err := json.Marshal(layout)
	require.NoError(t, err)
	return data
}

// TestVariants runs options in combinations that no published tokenizer has (testdata/make_variants.py).
func TestVariants(t *testing.T) {
	lines := bufio.NewScanner(strings.NewReader(string(readGzip(t, "testdata/variants.jsonl.gz"))))
	lines.Buffer(nil, 1<<24)
	checked, refused := 0, 0
	for n := 1; lines.Scan(); n++ {
		var v variant
		require.NoError(t, json.Unmarshal(lines.Bytes(), &v))
		tok, err := parseJSON("variant", v.file(t))
		if err != nil {
			require.Regexp(t, "not supported|matches the same text|is empty after", err.Error())
			refused++
			continue
		}
		for i, row := range v.Rows {
			if diff := row.check(tok); diff != "" {
				t.Errorf("variant %d row %d: %s", n, i+1, diff)
				break
			}
			checked++
		}
	}
	require.NoError(t, lines.Err())
	assert.Greater(t, checked, 2000)
	assert.Less(t, refused, 20, "of 150")
	t.Logf("%d rows, %d wirings refused", checked, refused)
}
