// Encoding chats: which tokens of a rendered conversation are the assistant's, found by rendering every
// prefix that ends where an assistant turn begins and where it ends.
package data

import (
	"slices"
	"strings"

	"salsa/internal/fault"
)

// usesMessages reports whether the row goes through the chat template.
func (e *Encoder) usesMessages(row *Row) bool {
	return e.Template != nil && (e.WrapText || len(row.Messages) > 0)
}

// Renders reports whether the row's tokens depend on the chat template: it is neither ids nor plain text.
func (e *Encoder) Renders(row *Row) bool {
	return row != nil && !row.HasIDs && row.Shape != ShapeText && e.usesMessages(row)
}

func errNoTemplate(row *Row) error {
	return fault.Inputf("%s: messages (%s), but the tokenizer has no chat template; put one into chat_template.jinja of the model's folder, or fine-tune it with salsa sft --chat-template %s",
		row.At(), row.Format, strings.Join(BuiltinTemplates(), "|"))
}

// promptTurns returns the turns before the completion.
func promptTurns(row *Row) []Message {
	if len(row.Messages) == 0 {
		return []Message{{"user", row.Prompt}}
	}
	if row.Shape != ShapeDialogue {
		return row.Messages
	}
	end := len(row.Messages)
	for end > 0 && isAssistant(row.Messages[end-1]) {
		end--
	}
	return row.Messages[:end]
}

// promptIDs renders and tokenises what is to be answered.
func (e *Encoder) promptIDs(row *Row) (string, []int, error) {
	if e.Tok == nil {
		return "", nil, errNoTokenizer(row)
	}
	if !e.usesMessages(row) {
		if row.MessagesOnly {
			return "", nil, errNoTemplate(row)
		}
		return row.Prompt, e.Tok.Encode(row.Prompt, true), nil
	}
	turns := promptTurns(row)
	if len(turns) == 0 {
		return "", nil, fault.Inputf("%s: no turn to answer; the dialogue holds only assistant turns", row.At())
	}
	text, err := e.render(row, turns, true)
	return text, e.Tok.Encode(text, false), err
}

func (e *Encoder) render(row *Row, turns []Message, generationPrompt bool) (string, error) {
	text, err := e.Template.Render(turns, generationPrompt)
	if err != nil {
		return "", fault.Inputf("%s: %w", row.At(), err)
	}
	return text, nil
}

// chat encodes a dialogue. Targets are the assistant turns that follow the row's prompt; in a row that is all
// dialogue, every assistant turn. The ids are those of the whole conversation, tokenised at once.
func (e *Encoder) chat(row *Row, text string, reply []Message) (Example, error) {
	if e.Tok == nil {
		return Example{}, errNoTokenizer(row)
	}
	dialogue, first := row.Messages, 0
	if row.Shape == ShapeDialogue {
		dialogue = trimToAssistant(dialogue)
	} else {
		if reply == nil {
			reply = []Message{{"assistant", text}}
		}
		prompt := promptTurns(row)
		dialogue, first = slices.Concat(prompt, reply), len(prompt)
	}
	full, err := e.render(row, dialogue, false)
	if err != nil {
		return Example{}, err
	}
	seq := sequence{ids: e.Tok.Encode(full, false)}
	seq.mask = make([]bool, len(seq.ids))
	promptLen, empty := len(seq.ids), false
	for i := first; i < len(dialogue); i++ {
		if !isAssistant(dialogue[i]) {
			continue
		}
		start, end, err := e.turnSpan(row, dialogue, i, full, seq.ids)
		if err != nil {
			return Example{}, err
		}
		promptLen = min(promptLen, start)
		empty = empty || strings.TrimSpace(dialogue[i].Content) == ""
		for k := start; k < end; k++ {
			seq.mask[k] = true
		}
	}
	return e.finish(row, seq, promptLen, empty)
}

// trimToAssistant drops the turns after the last assistant turn: nothing in them is a target.
func trimToAssistant(dialogue []Message) []Message {
	for len(dialogue) > 0 && !isAssistant(dialogue[len(dialogue)-1]) {
		dialogue = dialogue[:len(dialogue)-1]
	}
	return dialogue
}

// turnSpan finds the tokens [start, end) of turn i in ids, the tokens of the whole conversation. A turn starts
// where the conversation parts from its rendering up to the turn with a generation prompt, and ends with its
// stop token, or else where the rendering up to and including it ends.
func (e *Encoder) turnSpan(row *Row, dialogue []Message, i int, full string, ids []int) (start, end int, err error) {
	before, err := e.render(row, dialogue[:i], true)
	if err != nil {
		return 0, 0, err
	}
	start = commonPrefix(e.Tok.Encode(before, false), ids)
	end = len(ids)
	through := full
	if i+1 < len(dialogue) {
		if through, err = e.render(row, dialogue[:i+1], false); err != nil {
			return 0, 0, err
		}
		end = commonPrefix(e.Tok.Encode(through, false), ids)
	}
	if !strings.HasPrefix(full, through) || !strings.HasPrefix(full, before) {
		return 0, 0, fault.Inputf("%s: the chat template renders turn %d differently once more turns follow, so its tokens cannot be told apart; "+
			"give the earlier turns as \"prompt\" and the last as \"completion\", or use another chat template", row.At(), i+1)
	}
	for k := end - 1; k > start; k-- {
		if e.isStop(ids[k]) {
			return start, k + 1, nil // what a template puts behind the stop token is never generated
		}
		if strings.TrimSpace(e.Tok.Decode(ids[k:k+1], false)) != "" {
			break
		}
	}
	return start, end, nil
}

func (e *Encoder) isStop(id int) bool { return id == e.EOS || slices.Contains(e.Stops, id) }

// TeachesStop tells whether any example has eos or a stop token among its targets.
func (e *Encoder) TeachesStop(examples []Example) bool {
	for _, x := range examples {
		for k, id := range x.IDs {
			if x.Mask[k] && e.isStop(id) {
				return true
			}
		}
	}
	return false
}

// CheckStops refuses demonstrations none of which teaches the model to stop: generation would always run to its
// limit. Where all rows are ids they are taken as they are, and the caller may want to say so.
func (e *Encoder) CheckStops(examples []Example) error {
	asIs := !slices.ContainsFunc(examples, func(x Example) bool { return x.Row == nil || !x.Row.HasIDs })
	if asIs || e.TeachesStop(examples) {
		return nil
	}
	return fault.Inputf("no stop token (eos %d, stops %v) is a target in any of the %d examples, so the model would never learn to stop; "+
		"choose a --chat-template that ends answers in one, or put the id of the template's end-of-turn token into eos_token_id of generation_config.json",
		e.EOS, e.Stops, len(examples))
}
