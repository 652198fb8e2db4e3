package data

import (
	"errors"
	"strings"
	"testing"

	"salsa/internal/fault"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maskOf spells a mask as text: the targets themselves, a dot for each other token.
func maskOf(tok Tokenizer, x Example) string {
	var b strings.Builder
	for i, id := range x.IDs {
		if x.Mask[i] {
			b.WriteString(tok.Decode([]int{id}, false))
		} else {
			b.WriteByte('.')
		}
	}
	return b.String()
}

func TestTextRowGetsBOSOnceAndEOSAsTarget(t *testing.T) {
	enc := NewEncoder(newFake(), fakeBOS, fakeEOS)
	x, err := enc.SFT(&rowsOf(t, `{"prompt":"ab","completion":"cd"}`)[0])
	require.NoError(t, err)
	assert.Equal(t, []int{fakeBOS, 'a', 'b', 'c', 'd', fakeEOS}, x.IDs)
	assert.Equal(t, []bool{false, false, false, true, true, true}, x.Mask)
	assert.Equal(t, 3, x.PromptLen)
	assert.Equal(t, 3, x.Targets())
	assert.Equal(t, []int{'c', 'd', fakeEOS}, x.Completion())

	enc.EOS = -1
	x, err = enc.SFT(x.Row)
	require.NoError(t, err)
	assert.Equal(t, []int{fakeBOS, 'a', 'b', 'c', 'd'}, x.IDs)
}

func TestCompletionBeginsWhereJointTokensPart(t *testing.T) {
	tok := newFake()
	tok.merges = []string{"bc"} // joins the prompt's last byte with the completion's first
	x, err := NewEncoder(tok, fakeBOS, fakeEOS).SFT(&rowsOf(t, `{"prompt":"ab","completion":"cd"}`)[0])
	require.NoError(t, err)
	assert.Equal(t, []int{fakeBOS, 'a', 300, 'd', fakeEOS}, x.IDs)
	assert.Equal(t, 2, x.PromptLen)
	assert.Equal(t, "..bcd</s>", maskOf(tok, x))
}

func TestIDsAreTakenAsTheyAre(t *testing.T) {
	enc := NewEncoder(newFake(), fakeBOS, fakeEOS)
	rows := rowsOf(t, `{"prompt_ids":[5,6],"completion_ids":[7]}`, `{"prompt_ids":[5],"chosen_ids":[6,7],"rejected_ids":[8]}`)
	x, err := enc.SFT(&rows[0])
	require.NoError(t, err)
	assert.Equal(t, []int{5, 6, 7}, x.IDs)
	assert.Equal(t, []bool{false, false, true}, x.Mask)
	pair, err := enc.Pair(&rows[1])
	require.NoError(t, err)
	assert.Equal(t, []int{5, 6, 7}, pair.Chosen.IDs)
	assert.Equal(t, []int{5, 8}, pair.Rejected.IDs)
	prompt, err := enc.Prompt(&rows[0])
	require.NoError(t, err)
	assert.Equal(t, []int{5, 6}, prompt.IDs)
}

func TestPlainTextIsAllTarget(t *testing.T) {
	tok := newFake()
	enc := NewEncoder(tok, fakeBOS, fakeEOS)
	x, err := enc.SFT(&rowsOf(t, `{"text":"abc"}`)[0])
	require.NoError(t, err)
	assert.Equal(t, ".abc</s>", maskOf(tok, x))
	tok.bos = false
	x, err = enc.SFT(x.Row)
	require.NoError(t, err)
	assert.Equal(t, ".bc</s>", maskOf(tok, x), "nothing predicts the first token")
}

// The fixture of promise P14: every case of the length policy, with its counts.
func TestOverlongPoliciesAndTheirCounts(t *testing.T) {
	rows := rowsOf(t,
		`{"prompt":"ab","completion":"c"}`,        // <s> a b c </s>: 5, fits
		`{"prompt":"ab","completion":"cde"}`,      // 7
		`{"prompt":"abcdefgh","completion":"xy"}`, // 12, prompt alone 9
	)
	tok := newFake()
	enc := NewEncoder(tok, fakeBOS, fakeEOS)
	enc.MaxLength = 6

	_, _, err := EncodeAll(rows, enc.SFT)
	require.ErrorContains(t, err, "rows.jsonl:2: the row has 7 tokens, more than the maximum length of 6; shorten it")
	enc.Overlong = OverlongError
	_, _, err = EncodeAll(rows, enc.SFT)
	require.ErrorContains(t, err, "more than the maximum length of 6; raise --max-length if the model's context allows, or choose another --overlong")
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))

	enc.Overlong = OverlongDrop
	kept, counts, err := EncodeAll(rows, enc.SFT)
	require.NoError(t, err)
	assert.Len(t, kept, 1)
	assert.Equal(t, Counts{Rows: 3, Kept: 1, Overlong: 2}, counts)

	enc.Overlong = OverlongTruncateLeft
	kept, counts, err = EncodeAll(rows, enc.SFT)
	require.NoError(t, err)
	assert.Equal(t, Counts{Rows: 3, Kept: 3, Truncated: 2, CutTokens: 7}, counts)
	assert.Equal(t, "<s>bcde</s>", tok.Decode(kept[1].IDs, false), "a leading bos stays")
	assert.Equal(t, "..cde</s>", maskOf(tok, kept[1]))
	assert.Equal(t, 2, kept[1].PromptLen)
	assert.Equal(t, "<s>ghxy</s>", tok.Decode(kept[2].IDs, false))
	assert.Equal(t, "...xy</s>", maskOf(tok, kept[2]))

	enc.Overlong = OverlongTruncateRight
	kept, counts, err = EncodeAll(rows[:2], enc.SFT)
	require.NoError(t, err)
	assert.Equal(t, Counts{Rows: 2, Kept: 2, Truncated: 1, CutTokens: 1}, counts)
	assert.Equal(t, "...cde", maskOf(tok, kept[1]))
	_, _, err = EncodeAll(rows, enc.SFT)
	assert.ErrorContains(t, err, "rows.jsonl:3: the prompt alone has 9 tokens")
	assert.Equal(t, "1 of 3 rows kept (0 truncated by 0 tokens in all; dropped: 2 overlong, 0 empty)",
		Counts{Rows: 3, Kept: 1, Overlong: 2}.String())
}

// Both sides of a pair keep the same prompt, whichever of them was too long.
func TestOverlongPairsKeepOnePrompt(t *testing.T) {
	tok := newFake()
	enc := NewEncoder(tok, fakeBOS, fakeEOS)
	enc.MaxLength, enc.Overlong = 7, OverlongTruncateLeft
	for _, c := range []struct{ row, chosen, rejected string }{
		{`{"prompt":"abcd","chosen":"xyz","rejected":"u"}`, "...xyz</s>", "...u</s>"},
		{`{"prompt":"abcd","chosen":"u","rejected":"xyz"}`, "...u</s>", "...xyz</s>"},
		{`{"prompt":"abcd","chosen":"u","rejected":"x"}`, ".....u</s>", ".....x</s>"},
		{`{"prompt":"ab","chosen":"vwxyz","rejected":"u"}`, ".vwxyz</s>", ".u</s>"},
		{`{"prompt":"ab","chosen":"uvwxyz","rejected":"t"}`, ".vwxyz</s>", ".t</s>"}, // the bos stays of the prompt
	} {
		pair, err := enc.Pair(&rowsOf(t, c.row)[0])
		require.NoError(t, err)
		assert.Equal(t, c.chosen, maskOf(tok, pair.Chosen), c.row)
		assert.Equal(t, c.rejected, maskOf(tok, pair.Rejected), c.row)
		n := pair.Chosen.PromptLen
		if n == pair.Rejected.PromptLen {
			assert.Equal(t, pair.Chosen.IDs[:n], pair.Rejected.IDs[:n], c.row)
			continue
		}
		assert.Equal(t, []int{0, 1}, []int{n, pair.Rejected.PromptLen}, c.row)
	}
}

func TestOverlongPrompts(t *testing.T) {
	row := &rowsOf(t, `{"prompt":"abcdef"}`)[0]
	enc := NewEncoder(newFake(), fakeBOS, fakeEOS)
	enc.MaxLength = 4
	_, err := enc.Prompt(row)
	assert.ErrorContains(t, err, "rows.jsonl:1: the prompt has 7 tokens")
	for policy, want := range map[Overlong]string{OverlongTruncateLeft: "<s>def", OverlongTruncateRight: "<s>abc"} {
		enc.Overlong = policy
		p, err := enc.Prompt(row)
		require.NoError(t, err)
		assert.Equal(t, want, enc.Tok.Decode(p.IDs, false))
		assert.Equal(t, 3, p.Cut)
	}
	enc.Overlong = OverlongDrop
	_, err = enc.Prompt(row)
	var skip *Skip
	assert.True(t, errors.As(err, &skip))
	_, _, err = EncodeAll([]Row{*row}, enc.Prompt)
	assert.ErrorContains(t, err, "no row is left to use")
}

func TestEmptyCompletionPolicies(t *testing.T) {
	rows := rowsOf(t, `{"prompt":"a","completion":""}`, `{"prompt_ids":[1],"completion_ids":[]}`, `{"prompt":"a","completion":"b"}`)
	tok := newFake()
	enc := NewEncoder(tok, fakeBOS, fakeEOS)
	for i := range 2 {
		_, err := enc.SFT(&rows[i])
		assert.ErrorContains(t, err, "empty completion; remove the row, or drop or keep")
	}
	enc.Empty = EmptyDrop
	_, counts, err := EncodeAll(rows, enc.SFT)
	require.NoError(t, err)
	assert.Equal(t, Counts{Rows: 3, Kept: 1, Empty: 2}, counts)
	enc.Empty = EmptyKeep
	all, _, err := EncodeAll(rows, enc.SFT)
	require.NoError(t, err)
	assert.Equal(t, "..</s>", maskOf(tok, all[0]))
	assert.Equal(t, ".", maskOf(tok, all[1]))
}

func TestDoubleBOSIsRefused(t *testing.T) {
	enc := NewEncoder(newFake(), fakeBOS, fakeEOS)
	rows := rowsOf(t, `{"prompt":"<s>a","completion":"b"}`, `{"prompt_ids":[256,256,1],"completion_ids":[2]}`)
	for i := range rows {
		_, err := enc.SFT(&rows[i])
		assert.ErrorContains(t, err, "begins with two bos tokens (id 256); the tokenizer adds one, so remove")
		_, err = enc.Prompt(&rows[i])
		assert.ErrorContains(t, err, "begins with two bos tokens")
	}
}

func TestShapesWhereTheyDoNotBelong(t *testing.T) {
	enc := NewEncoder(newFake(), fakeBOS, fakeEOS)
	rows := rowsOf(t, `{"prompt":"a"}`, `{"text":"a"}`)
	_, err := enc.SFT(&rows[0])
	assert.ErrorContains(t, err, "rows.jsonl:1: a prompt without a completion")
	_, err = enc.Pair(&rows[0])
	assert.ErrorContains(t, err, "rows.jsonl:1: prompt where a preference is needed")
	_, err = enc.Ranking(&rows[0])
	assert.ErrorContains(t, err, "prompt where a ranking is needed")
	_, err = enc.Prompt(&rows[1])
	assert.ErrorContains(t, err, "rows.jsonl:2: plain text where a prompt is needed")
	enc.Tok.(*fakeTokenizer).bos = false
	_, err = enc.Prompt(&rowsOf(t, `{"prompt":""}`)[0])
	assert.ErrorContains(t, err, "the prompt has no tokens")
}

func TestPreferencesAndRankings(t *testing.T) {
	tok := newFake()
	enc := NewEncoder(tok, fakeBOS, fakeEOS)
	rows := rowsOf(t, `{"prompt":"q","chosen":"yes","rejected":"no","margin":1.5}`, `{"prompt":"q","ranked":["a","b","c"]}`,
		`{"instruction":"q","output":"demo","chosen":"yes","rejected":"no"}`)
	pair, err := enc.Pair(&rows[0])
	require.NoError(t, err)
	assert.Equal(t, "..yes</s>", maskOf(tok, pair.Chosen))
	assert.Equal(t, "..no</s>", maskOf(tok, pair.Rejected))
	assert.Equal(t, 1.5, pair.Margin)
	ranking, err := enc.Ranking(&rows[0])
	require.NoError(t, err)
	assert.Len(t, ranking, 2)
	ranking, err = enc.Ranking(&rows[1])
	require.NoError(t, err)
	assert.Equal(t, "..c</s>", maskOf(tok, ranking[2]))
	pair, err = enc.Pair(&rows[1])
	require.NoError(t, err)
	assert.Equal(t, "..a</s>|..c</s>", maskOf(tok, pair.Chosen)+"|"+maskOf(tok, pair.Rejected))

	for i, want := range []string{"yes</s>", "a</s>", "demo</s>"} {
		x, err := enc.SFT(&rows[i])
		require.NoError(t, err)
		assert.Equal(t, want, tok.Decode(x.Completion(), false), "what SFT imitates")
	}
}

func TestRowsOfIDsNeedNoTokenizer(t *testing.T) {
	rows := rowsOf(t,
		`{"prompt_ids":[5,6],"completion_ids":[7]}`,
		`{"prompt_ids":[5,6],"chosen_ids":[7],"rejected_ids":[8]}`,
		`{"prompt_ids":[5,100],"completion_ids":[7]}`,
		`{"prompt":"a","completion":"b"}`,
		`{"text":"a"}`,
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`,
	)
	enc := &Encoder{Vocab: 100, BOS: -1, EOS: 99, Template: &Template{}}
	x, err := enc.SFT(&rows[0])
	require.NoError(t, err)
	assert.Equal(t, []int{5, 6, 7}, x.IDs, "nothing is added to ids")
	assert.NoError(t, enc.CheckStops([]Example{x}), "ids are taken as they are")
	assert.False(t, enc.TeachesStop([]Example{x}))
	p, err := enc.Prompt(&rows[0])
	require.NoError(t, err)
	assert.Equal(t, Prompt{IDs: []int{5, 6}, Row: &rows[0]}, p)
	pair, err := enc.Pair(&rows[1])
	require.NoError(t, err)
	assert.Equal(t, []int{5, 6, 8}, pair.Rejected.IDs)

	const tooHigh = "rows.jsonl:3: token id 100 is not below the model's vocab_size 100; use ids of the model's own tokenizer"
	_, err = enc.SFT(&rows[2])
	assert.ErrorContains(t, err, tooHigh)
	_, err = enc.Prompt(&rows[2])
	assert.ErrorContains(t, err, tooHigh)
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))

	for i := 3; i < len(rows); i++ {
		_, err = enc.SFT(&rows[i])
		assert.ErrorContains(t, err, "and the model's folder has neither tokenizer.json nor tokenizer.model; copy one there, or give rows of ids")
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	}
	_, err = enc.Prompt(&rows[3])
	assert.ErrorContains(t, err, "rows.jsonl:4: text (prompt and completion)")
}
