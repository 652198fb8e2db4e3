package data

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckCountsEverything(t *testing.T) {
	rows := rowsOf(t,
		`{"prompt":"ab","completion":"cd"}`,             // <s> a b | c d </s>: 6
		`{"prompt":"ab","completion":"cd"}`,             // a duplicate
		`{"prompt":" A b","completion":"x"}`,            // another prompt: white space parts the letters
		`{"prompt":"AB","completion":""}`,               // the first prompt again; empty
		`{"prompt":"q","chosen":"y","rejected":"y"}`,    // a tie
		`{"prompt_ids":[1,2],"completion_ids":[3,4,5]}`, // no stop token
		`{"prompt":"abcdefghi","completion":"long"}`,    // prompt alone 10 tokens
		`{"prompt":"<s>x","completion":"y"}`,            // double bos
	)
	eval := rowsOf(t, `{"prompt":"Q","completion":"z"}`)
	enc := NewEncoder(newFake(), fakeBOS, fakeEOS)
	enc.MaxLength = 8
	r, err := Check(rows, eval, enc, 0)
	require.NoError(t, err)
	assert.Equal(t, 8, r.Rows)
	assert.Equal(t, 1, r.Overlong)
	assert.Equal(t, 1, r.PromptOver)
	assert.Equal(t, 1, r.Empty)
	assert.Equal(t, 1, r.Ties)
	assert.Equal(t, 1, r.NoStop)
	assert.Equal(t, 1, r.Duplicates)
	assert.Equal(t, 2, r.PromptTwice)
	assert.Equal(t, 1, r.Leaks)
	assert.Equal(t, []string{rows[4].At() + " = " + eval[0].At()}, r.LeakAt)
	assert.Equal(t, 1, r.Bad)
	require.Len(t, r.BadAt, 1)
	assert.Contains(t, r.BadAt[0], "rows.jsonl:8: begins with two bos tokens")
	assert.Equal(t, 6+6+7+4+4+4+5+15, r.Tokens)
	assert.Equal(t, 3+3+2+1+2+2+3+5, r.Targets)
	assert.Equal(t, 15, r.Sequence.Max)
	assert.Equal(t, 4, r.Sequence.Min)
	assert.ErrorContains(t, r.Err(), "1 of 8 rows cannot be used, the first: ")
	var text strings.Builder
	require.NoError(t, r.WriteText(&text, false))
	for _, line := range []string{`longer than 8 +1 rows; in 1 the prompt alone fills it; refused without another --overlong`,
		`empty completions +1; refused without --empty drop or keep`, `chosen equals rejected +1; salsa dpo refuses them without --identical drop`, `unknown tokens +0\n`} {
		assert.Regexp(t, line, text.String())
	}
}

func TestCheckRefusesDataThatNeverStops(t *testing.T) {
	enc := NewEncoder(newFake(), fakeBOS, -1)
	r, err := Check(rowsOf(t, `{"prompt":"a","completion":"b"}`), nil, enc, 0)
	require.NoError(t, err)
	assert.ErrorContains(t, r.Err(), "never learn to stop")
	enc.EOS = fakeEOS
	r, err = Check(rowsOf(t, `{"prompt":"a","completion":"b"}`, `{"prompt":"c"}`), nil, enc, 1)
	require.NoError(t, err)
	assert.NoError(t, r.Err())
	var text strings.Builder
	require.NoError(t, r.WriteText(&text, false))
	assert.Regexp(t, `without a completion +1, the first .*rows.jsonl:2; training on completions refuses them`, text.String(), "among rows that have one")
	r, err = Check(rowsOf(t, `{"prompt":"c"}`), nil, enc, 0)
	require.NoError(t, err)
	text.Reset()
	require.NoError(t, r.WriteText(&text, false))
	assert.NotContains(t, text.String(), "without a completion", "a file of prompts")
	_, err = Check(nil, nil, enc, 0)
	assert.ErrorContains(t, err, "no rows")
	_, err = Check(rowsOf(t, `{"prompt":"a"}`), nil, enc, 1)
	assert.ErrorContains(t, err, "no row 2 to show; there are rows 1 to 1")
}

func TestSpread(t *testing.T) {
	var lengths []int
	for n := 100; n >= 1; n-- {
		lengths = append(lengths, n)
	}
	s := spread(lengths)
	assert.Equal(t, []int{1, 50, 90, 99, 100}, []int{s.Min, s.Median, s.P90, s.P99, s.Max})
	assert.Equal(t, 50.5, s.Mean)
	require.Len(t, s.Bins, 20)
	assert.Equal(t, Bin{From: 96, To: 100, Count: 5}, s.Bins[19])
	assert.Equal(t, []Bin{{7, 7, 3}}, spread([]int{7, 7, 7}).Bins)
	assert.Zero(t, spread(nil))
}

func TestColourMarksTargets(t *testing.T) {
	tok := newFake()
	x, err := NewEncoder(tok, fakeBOS, fakeEOS).SFT(&rowsOf(t, `{"prompt":"a\u001b[31m","completion":"bé"}`)[0])
	require.NoError(t, err)
	assert.Equal(t, "<s>a␦[31m«b⟨195⟩⟨169⟩</s>»", Colour(tok, x, false), "data cannot steer the terminal; parts of a character show as ids")
	assert.Equal(t, "\x1b[90m<s>a␦[31m\x1b[0m\x1b[32mb⟨195⟩⟨169⟩</s>\x1b[0m", Colour(tok, x, true))
}

// stripping drops the space that a text begins with, as decoders of SentencePiece vocabularies do.
type stripping struct{ *fakeTokenizer }

func (s stripping) Decode(ids []int, skipSpecial bool) string {
	return strings.TrimPrefix(s.fakeTokenizer.Decode(ids, skipSpecial), " ")
}

func TestColourKeepsSpacesWithinTheRow(t *testing.T) {
	tok := stripping{newFake()}
	tok.merges = []string{" a "}
	x := Example{IDs: []int{fakeBOS, 'o', 'n', 300, 'x', ' ', 'y'}, Mask: make([]bool, 7)}
	assert.Equal(t, "<s>on a x y", Colour(tok, x, false))
}

func TestCheckCountsUnknownTokens(t *testing.T) {
	tok := newFake()
	tok.specials = append(tok.specials, "<unk>")
	r, err := Check(rowsOf(t, `{"prompt":"a<unk>","completion":"<unk><unk>"}`, `{"prompt":"a","completion":"b"}`), nil, NewEncoder(tok, fakeBOS, fakeEOS), 0)
	require.NoError(t, err)
	assert.Equal(t, 3, r.Unknown)
	var text bytes.Buffer
	require.NoError(t, r.WriteText(&text, false))
	assert.Contains(t, text.String(), "unknown tokens                  3\n")
}

func TestCheckPages(t *testing.T) {
	rows := rowsOf(t, `{"prompt":"<script>","completion":"b"}`)
	r, err := Check(rows, rows, NewEncoder(newFake(), fakeBOS, fakeEOS), 0)
	require.NoError(t, err)
	var text, html bytes.Buffer
	require.NoError(t, r.WriteText(&text, false))
	assert.Contains(t, text.String(), "data                            1 rows: prompt and completion\n")
	assert.Contains(t, text.String(), "prompts leaked into evaluation  1\nunusable rows                   0\n  leak: ")
	assert.Contains(t, text.String(), "<s><script>«b</s>»")
	require.NoError(t, r.WriteHTML(&html))
	assert.Contains(t, html.String(), `<span class="k t">b</span>`)
	assert.Contains(t, html.String(), `<span class="k p">&lt;</span>`)
	assert.NotContains(t, html.String(), "<script>")
	assert.NotContains(t, html.String(), "http", "nothing comes from the network")
	assert.Equal(t, 3, strings.Count(html.String(), "<svg"))
}

func ExampleColour() {
	tok := newFake()
	enc := NewEncoder(tok, fakeBOS, fakeEOS)
	x, err := enc.SFT(&Row{Shape: ShapeDemo, Prompt: "2+2=", Completion: "4"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(Colour(tok, x, false))
	// Output: <s>2+2=«4</s>»
}
