package data

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFormatsOneRowEach(t *testing.T) {
	user, yes, no := Message{"user", "q"}, Message{"assistant", "yes"}, Message{"assistant", "no"}
	pair := Row{Shape: ShapePair, MessagesOnly: true, Messages: []Message{user},
		ChosenMessages: []Message{yes}, RejectedMessages: []Message{no}}
	const turn = `{"role":"user","content":"q"}`
	const right = `{"role":"assistant","content":"yes"}`
	const wrong = `{"role":"assistant","content":"no"}`
	alpaca := "Below is an instruction that describes a task. Write a response that appropriately completes the request." +
		"\n\n### Instruction:\nq\n\n### Response:\n"
	cases := []struct {
		format, line string
		want         Row
	}{
		{"prompt and completion ids", `{"prompt_ids":[1,2],"completion_ids":[3]}`,
			Row{Shape: ShapeDemo, HasIDs: true, PromptIDs: []int{1, 2}, CompletionIDs: []int{3}}},
		{"preference ids", `{"prompt_ids":[1],"chosen_ids":[2],"rejected_ids":[3],"margin":0.5}`,
			Row{Shape: ShapePair, HasIDs: true, PromptIDs: []int{1}, ChosenIDs: []int{2}, RejectedIDs: []int{3}, Margin: 0.5, HasMargin: true}},
		{"prompt ids", `{"prompt_ids":[1]}`, Row{Shape: ShapePrompt, HasIDs: true, PromptIDs: []int{1}}},
		{"text", `{"text":"q"}`, Row{Shape: ShapeText, Text: "q"}},
		{"prompts", `{"prompt":"q"}`, Row{Shape: ShapePrompt, Prompt: "q"}},
		{"prompt strings", `"q"`, Row{Shape: ShapePrompt, Prompt: "q"}},
		{"prompts", `{"prompt":[` + turn + `]}`, Row{Shape: ShapePrompt, Messages: []Message{user}, MessagesOnly: true}},
		{"question and answer", `{"question":"q","answer":"yes"}`, Row{Shape: ShapeDemo, Prompt: "q", Completion: "yes"}},
		{"prompt and completion", `{"prompt":[` + turn + `],"completion":[` + right + `]}`,
			Row{Shape: ShapeDemo, Messages: []Message{user}, CompletionMessages: []Message{yes}, MessagesOnly: true}},
		{"messages", `{"messages":[` + turn + `,` + right + `]}`,
			Row{Shape: ShapeDialogue, Messages: []Message{user, yes}, MessagesOnly: true}},
		{"messages", `{"messages":[` + turn + `]}`, Row{Shape: ShapePrompt, Messages: []Message{user}, MessagesOnly: true}},
		{"sharegpt", `{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"yes"}]}`,
			Row{Shape: ShapeDialogue, Messages: []Message{user, yes}, MessagesOnly: true}},
		{"sharegpt preferences", `{"conversations":[{"from":"human","value":"q"}],"chosen":{"from":"gpt","value":"yes"},"rejected":{"from":"gpt","value":"no"}}`, pair},
		{"preferences", `{"prompt":"q","chosen":"yes","rejected":"no","score_chosen":8,"score_rejected":6}`,
			Row{Shape: ShapePair, Prompt: "q", Chosen: "yes", Rejected: "no", Margin: 2, HasMargin: true}},
		{"preferences", `{"prompt":"q","chosen":[` + turn + `,` + right + `],"rejected":[` + turn + `,` + wrong + `]}`, pair},
		{"preferences", `{"prompt":[` + turn + `],"chosen":[` + right + `],"rejected":[` + wrong + `]}`, pair},
		{"dialogue preferences", `{"chosen":[` + turn + `,` + right + `],"rejected":[` + turn + `,` + wrong + `]}`, pair},
		{"hh-rlhf dialogues", `{"chosen":"\n\nHuman: q\n\nAssistant: yes","rejected":"\n\nHuman: q\n\nAssistant: no"}`,
			Row{Shape: ShapePair, Messages: []Message{user}, ChosenMessages: []Message{yes}, RejectedMessages: []Message{no},
				Prompt: "\n\nHuman: q\n\nAssistant:", Chosen: " yes", Rejected: " no"}},
		{"alpaca", `{"instruction":"q","input":"","output":"yes"}`,
			Row{Shape: ShapeDemo, Prompt: alpaca, Completion: "yes", Messages: []Message{user}, CompletionMessages: []Message{yes}}},
		{"alpaca preferences", `{"instruction":"q","chosen":"yes","rejected":"no"}`,
			Row{Shape: ShapePair, Prompt: alpaca, Chosen: "yes", Rejected: "no", Messages: []Message{user},
				ChosenMessages: []Message{yes}, RejectedMessages: []Message{no}}},
		{"rankings", `{"prompt":"q","ranked":["yes","no","?"]}`, Row{Shape: ShapeRanked, Prompt: "q", Ranked: []string{"yes", "no", "?"}}},
	}
	for _, c := range cases {
		t.Run(c.format, func(t *testing.T) {
			rows := rowsOf(t, c.line)
			require.Len(t, rows, 1)
			c.want.Format, c.want.File, c.want.Line = c.format, rows[0].File, 1
			assert.Equal(t, c.want, rows[0])
		})
	}
}

func TestSharedPromptIsVerifiedPerRow(t *testing.T) {
	cases := []struct{ line, want string }{
		{`{"chosen":"a b","rejected":"a c"}`, `"chosen" has no "prompt" beside it and does not begin with "\n\nHuman:"`},
		{`{"chosen":"\n\nHuman: q\n\nAssistant: a","rejected":"\n\nHuman: other\n\nAssistant: b"}`, "share no prompt"},
		{`{"chosen":"\n\nHuman: q\n\nAssistant: a","rejected":"\n\nHuman:  q\n\nAssistant: b"}`, "differ within the prompt (white space)"},
		{`{"prompt":"x","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}]}`,
			`"prompt" is not among the turns`},
		{`{"messages":[]}`, `"messages" is an empty list`},
		{`{"messages":[{"content":"x"}]}`, `a turn without "role"`},
		{`{"messages":[{"role":"user","content":null}]}`, `user turn: "content" must be a string`},
		{`{"messages":[{"role":"assistant","content":"","tool_calls":[{"id":1}]}]}`, "tool calls are not supported"},
		{`{"prompt":"q","ranked":["one"]}`, "at least 2"},
	}
	for _, c := range cases {
		_, err := ReadAll(write(t, "r.jsonl", c.line), ReadOptions{})
		assert.ErrorContains(t, err, "r.jsonl:1: ", c.line)
		assert.ErrorContains(t, err, c.want, c.line)
	}
}

func TestDialoguesThatPartEarlyKeepWhatTheyShare(t *testing.T) {
	rows := rowsOf(t, `{"chosen":"\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: b","rejected":"\n\nHuman: q\n\nAssistant: c"}`,
		`{"chosen":"\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: b","rejected":"\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: b"}`)
	assert.Equal(t, []Message{{"user", "q"}}, rows[0].Messages)
	assert.Equal(t, []Message{{"assistant", "a"}, {"user", "r"}, {"assistant", "b"}}, rows[0].ChosenMessages)
	assert.Equal(t, "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant:", rows[1].Prompt, "equal dialogues: the last turn is the completion")
}

func TestRealFilesAreRecognised(t *testing.T) {
	cases := []struct {
		file, want string
	}{
		{"ultrafeedback/train_clean.jsonl", "1000 rows: preferences"},
		{"llmfs-instruction-preference/instruction-data-with-preference.json", "1100 rows: alpaca preferences"},
		{"llmfs-instruction-preference/instruction-data.json", "1100 rows: alpaca"},
		{"hh-rlhf-harmless-test/test.jsonl.gz", "2312 rows: hh-rlhf dialogues"},
		{"torchtune-tiny/chat_tiny.json", "1 rows: sharegpt"},
		{"torchtune-tiny/hh_rlhf_tiny.json", "1 rows: dialogue preferences"},
		{"torchtune-tiny/instruct_tiny.json", "2 rows: instruction and response"},
		{"torchtune-tiny/stack_exchange_paired_tiny.json", "25 rows: stack-exchange preferences"},
		{"self-instruct/seed_tasks.jsonl", "175 rows: self-instruct tasks"},
		{"gsm8k/test.jsonl", "1319 rows: question and answer"},
		{"arena-hard/arena-hard-v0.1_question.jsonl", "500 rows: prompts"},
		{"safe-rlhf-problems/problem.json", "83 rows: prompts"},
		{"oasst-en-100/en_100_text.jsonl", "100 rows: prompt strings"},
		{"tinystories-sample/tinystories.txt", "rows: plain text"},
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			rows, err := ReadAll(realData(t, c.file), ReadOptions{})
			require.NoError(t, err)
			assert.True(t, strings.HasSuffix(Detected(rows), c.want), Detected(rows))
		})
	}
}

func TestTreesGiveEveryOrderedPair(t *testing.T) {
	rows, err := ReadAll(realData(t, "oasst-en-100/en_100_tree.jsonl"), ReadOptions{})
	require.NoError(t, err)
	pairs := 0
	for _, row := range rows {
		k := len(row.RankedMessages)
		pairs += k * (k - 1) / 2
		assert.Equal(t, "user", row.Messages[len(row.Messages)-1].Role)
	}
	assert.Equal(t, 754, pairs)
}
