// The parse functions of the format table that read plain fields: ids, text, instructions.
package data

import (
	"encoding/json"
	"errors"
	"fmt"
)

// parseIDs reads rows of token ids, which are used exactly as they are.
func parseIDs(o object) ([]Row, error) {
	row := Row{Shape: ShapePrompt, HasIDs: true}
	fields := []struct {
		key string
		dst *[]int
	}{
		{"prompt_ids", &row.PromptIDs}, {"completion_ids", &row.CompletionIDs},
		{"chosen_ids", &row.ChosenIDs}, {"rejected_ids", &row.RejectedIDs},
	}
	for _, f := range fields {
		if err := o.decode(f.key, f.dst); err != nil {
			return nil, err
		}
		for i, id := range *f.dst {
			if id < 0 {
				return nil, fmt.Errorf("%q[%d] is %d; token ids are not negative", f.key, i, id)
			}
		}
	}
	switch {
	case o.has("chosen_ids", "rejected_ids"):
		row.Shape = ShapePair
	case o.has("completion_ids"):
		row.Shape = ShapeDemo
	}
	err := o.margin(&row)
	return []Row{row}, err
}

func parseText(o object) ([]Row, error) {
	v, err := o.text("text")
	if err != nil {
		return nil, err
	}
	return []Row{{Shape: ShapeText, Text: v[0]}}, nil
}

// parsePrompt reads a lone prompt: a string or a list of messages.
func parsePrompt(key string) func(object) ([]Row, error) {
	return func(o object) ([]Row, error) {
		prompt, err := o.turns(key, "user")
		if err != nil {
			return nil, err
		}
		row := Row{Shape: ShapePrompt, Prompt: prompt.text, Messages: prompt.messages, MessagesOnly: !prompt.isText}
		if prompt.isText {
			row.Messages = nil
		}
		return []Row{row}, nil
	}
}

// parseDemo reads a prompt with one completion, strings or messages.
func parseDemo(promptKey, completionKey string) func(object) ([]Row, error) {
	return func(o object) ([]Row, error) {
		prompt, err := o.turns(promptKey, "user")
		if err != nil {
			return nil, err
		}
		completion, err := o.turns(completionKey, "assistant")
		if err != nil {
			return nil, err
		}
		if prompt.isText && completion.isText {
			return []Row{{Shape: ShapeDemo, Prompt: prompt.text, Completion: completion.text}}, nil
		}
		return []Row{{Shape: ShapeDemo, Messages: prompt.messages, CompletionMessages: completion.messages, MessagesOnly: true}}, nil
	}
}

// parseStackExchange reads question, response_j (the better) and response_k.
func parseStackExchange(o object) ([]Row, error) {
	v, err := o.text("question", "response_j", "response_k")
	if err != nil {
		return nil, err
	}
	return []Row{{Shape: ShapePair, Prompt: v[0], Chosen: v[1], Rejected: v[2]}}, nil
}

// parseRanked reads {"prompt", "ranked": [best, …, worst]}, each completion a string or messages.
func parseRanked(o object) ([]Row, error) {
	prompt, err := o.turns("prompt", "user")
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := o.decode("ranked", &list); err != nil {
		return nil, err
	}
	if len(list) < 2 {
		return nil, fmt.Errorf("%q holds %d completions; a ranking needs at least 2", "ranked", len(list))
	}
	row := Row{Shape: ShapeRanked, Prompt: prompt.text, Messages: prompt.messages, MessagesOnly: !prompt.isText}
	for i, raw := range list {
		reply, err := object{"ranked": raw}.turns("ranked", "assistant")
		if err != nil {
			return nil, fmt.Errorf("ranked[%d]: %w", i, err)
		}
		if !reply.isText {
			row.MessagesOnly = true
		}
		row.Ranked = append(row.Ranked, reply.text)
		row.RankedMessages = append(row.RankedMessages, reply.messages)
	}
	if !row.MessagesOnly {
		row.Messages, row.RankedMessages = nil, nil
	}
	return []Row{row}, nil
}

// The wording in which Alpaca's instructions were published; models tuned on them expect it to the letter.
const (
	alpacaPlain = "Below is an instruction that describes a task. " +
		"Write a response that appropriately completes the request.\n\n### Instruction:\n%s\n\n### Response:\n"
	alpacaWithInput = "Below is an instruction that describes a task, paired with an input that provides further context. " +
		"Write a response that appropriately completes the request.\n\n### Instruction:\n%s\n\n### Input:\n%s\n\n### Response:\n"
)

// alpacaPrompt fills the prompt of a row from instruction and input: Alpaca's wording as text, and a user
// turn (after system and history, if any) as messages.
func alpacaPrompt(o object, instruction, input string) (Row, error) {
	row := Row{Shape: ShapePrompt, Prompt: fmt.Sprintf(alpacaPlain, instruction)}
	request := instruction
	if input != "" {
		row.Prompt = fmt.Sprintf(alpacaWithInput, instruction, input)
		request += "\n" + input
	}
	var system string
	var history [][2]string
	if err := errors.Join(o.decode("system", &system), o.decode("history", &history)); err != nil {
		return row, err
	}
	if system != "" {
		row.Messages = append(row.Messages, Message{"system", system})
	}
	for _, turn := range history {
		row.Messages = append(row.Messages, Message{"user", turn[0]}, Message{"assistant", turn[1]})
	}
	row.MessagesOnly = len(row.Messages) > 0
	row.Messages = append(row.Messages, Message{"user", request})
	return row, nil
}

// parseAlpaca reads instruction, input and the completion under outputKey ("" for prompts alone).
func parseAlpaca(outputKey string) func(object) ([]Row, error) {
	return func(o object) ([]Row, error) {
		v, err := o.text("instruction", "input", outputKey)
		if err != nil {
			return nil, err
		}
		row, err := alpacaPrompt(o, v[0], v[1])
		if err == nil && outputKey != "" {
			row.demonstrate(v[2])
			row.Shape = ShapeDemo
		}
		return []Row{row}, err
	}
}

// demonstrate sets the completion in both its forms.
func (r *Row) demonstrate(output string) {
	r.Completion = output
	r.CompletionMessages = []Message{{"assistant", output}}
}

// parseAlpacaPair reads alpaca rows with chosen and rejected; an "output" stays usable for SFT.
func parseAlpacaPair(o object) ([]Row, error) {
	v, err := o.text("instruction", "input", "output")
	if err != nil {
		return nil, err
	}
	row, err := alpacaPrompt(o, v[0], v[1])
	if err != nil {
		return nil, err
	}
	row.Shape = ShapePair
	if o.has("output") {
		row.demonstrate(v[2])
	}
	chosen, err := o.turns("chosen", "assistant")
	if err != nil {
		return nil, err
	}
	rejected, err := o.turns("rejected", "assistant")
	if err != nil {
		return nil, err
	}
	row.Chosen, row.ChosenMessages = chosen.text, chosen.messages
	row.Rejected, row.RejectedMessages = rejected.text, rejected.messages
	row.MessagesOnly = row.MessagesOnly || !chosen.isText || !rejected.isText
	err = o.margin(&row)
	return []Row{row}, err
}

// parseSelfInstruct reads one task with its instances, each an alpaca row of its own.
func parseSelfInstruct(o object) ([]Row, error) {
	var instruction string
	var instances []struct{ Input, Output string }
	if err := errors.Join(o.decode("instruction", &instruction), o.decode("instances", &instances)); err != nil {
		return nil, err
	}
	var rows []Row
	for _, instance := range instances {
		row, err := alpacaPrompt(o, instruction, instance.Input)
		if err != nil {
			return nil, err
		}
		row.Shape = ShapeDemo
		row.demonstrate(instance.Output)
		rows = append(rows, row)
	}
	return rows, nil
}
