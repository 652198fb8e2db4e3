// The parse functions of the format table that read dialogues: message lists, sharegpt, hh-rlhf text and
// OpenAssistant trees.
package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// turns is a value that may be given as a string, a message or a list of messages.
type turns struct {
	isText   bool
	text     string
	messages []Message // the string as one message of the role asked for, if it was one
}

// wireMessage accepts both spellings of a turn and refuses what would be lost.
type wireMessage struct {
	Role      string          `json:"role"`
	From      string          `json:"from"`
	Content   json.RawMessage `json:"content"`
	Value     json.RawMessage `json:"value"`
	ToolCalls json.RawMessage `json:"tool_calls"`
}

// roleNames maps the spellings of other formats to those that chat templates use.
var roleNames = map[string]string{
	"human": "user", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bot": "assistant", "model": "assistant",
}

// UnmarshalJSON reads {"role", "content"} and sharegpt's {"from", "value"}; content may be a list of text parts.
func (m *Message) UnmarshalJSON(raw []byte) error {
	var wire wireMessage
	if err := json.Unmarshal(raw, &wire); err != nil {
		return err
	}
	if len(wire.ToolCalls) > 0 && !slices.Contains([]string{"null", "[]"}, string(wire.ToolCalls)) {
		return errors.New("tool calls are not supported; drop those rows")
	}
	role, content := wire.Role, wire.Content
	if role == "" {
		role, content = wire.From, wire.Value
	}
	if role == "" {
		return errors.New("a turn without \"role\" (or \"from\"); each needs role and content")
	}
	if known, found := roleNames[role]; found {
		role = known
	}
	text, err := contentText(content)
	if err != nil {
		return fmt.Errorf("%s turn: %w", role, err)
	}
	m.Role, m.Content = role, text
	return nil
}

func contentText(raw json.RawMessage) (string, error) {
	var text string
	if len(raw) > 0 && raw[0] == '[' {
		var parts []struct{ Type, Text string }
		if err := json.Unmarshal(raw, &parts); err != nil {
			return "", err
		}
		for _, part := range parts {
			if part.Type != "text" {
				return "", fmt.Errorf("content part of type %q; only text is supported", part.Type)
			}
			text += part.Text
		}
		return text, nil
	}
	if len(raw) == 0 || raw[0] != '"' {
		return "", errors.New("\"content\" must be a string or a list of text parts")
	}
	return text, json.Unmarshal(raw, &text)
}

// turns reads the value under key; a bare string becomes one message of the given role.
func (o object) turns(key, role string) (turns, error) {
	raw := o[key]
	switch {
	case len(raw) > 0 && raw[0] == '"':
		var text string
		err := o.decode(key, &text)
		return turns{isText: true, text: text, messages: []Message{{role, text}}}, err
	case len(raw) > 0 && raw[0] == '{':
		var one Message
		err := o.decode(key, &one)
		return turns{messages: []Message{one}}, err
	default:
		var list []Message
		if err := o.decode(key, &list); err != nil {
			return turns{}, err
		}
		if len(list) == 0 {
			return turns{}, fmt.Errorf("%q is an empty list; it needs at least one turn", key)
		}
		return turns{messages: list}, nil
	}
}

// parseDialogue reads a whole conversation. One that ends with a user turn has nothing to learn at its end,
// but serves as a prompt.
func parseDialogue(key string) func(object) ([]Row, error) {
	return func(o object) ([]Row, error) {
		var list []Message
		if err := o.decode(key, &list); err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, fmt.Errorf("%q is an empty list; it needs at least one turn", key)
		}
		row := Row{Shape: ShapeDialogue, Messages: list, MessagesOnly: true}
		if !slices.ContainsFunc(list, isAssistant) {
			row.Shape = ShapePrompt
		}
		return []Row{row}, nil
	}
}

func isAssistant(m Message) bool { return m.Role == "assistant" }

// parsePair reads preferences with an explicit prompt under promptKey.
func parsePair(promptKey string) func(object) ([]Row, error) {
	return func(o object) ([]Row, error) {
		prompt, err := o.turns(promptKey, "user")
		if err != nil {
			return nil, err
		}
		chosen, err := o.turns("chosen", "assistant")
		if err != nil {
			return nil, err
		}
		rejected, err := o.turns("rejected", "assistant")
		if err != nil {
			return nil, err
		}
		row := Row{Shape: ShapePair}
		switch {
		case prompt.isText && chosen.isText && rejected.isText:
			row.Prompt, row.Chosen, row.Rejected = prompt.text, chosen.text, rejected.text
		case isAssistant(chosen.messages[0]) && isAssistant(rejected.messages[0]):
			row.MessagesOnly = true
			row.Messages, row.ChosenMessages, row.RejectedMessages = prompt.messages, chosen.messages, rejected.messages
		default: // both repeat the prompt, as UltraFeedback's binarised rows do
			row, err = splitMessages(chosen.messages, rejected.messages)
			if err == nil && !mentions(row.Messages, prompt) {
				err = errors.New("\"prompt\" is not among the turns that chosen and rejected share; remove it or make them agree")
			}
		}
		if err == nil {
			err = o.margin(&row)
		}
		return []Row{row}, err
	}
}

// mentions reports whether shared holds the prompt's last turn.
func mentions(shared []Message, prompt turns) bool {
	want := strings.TrimSpace(prompt.messages[len(prompt.messages)-1].Content)
	return slices.ContainsFunc(shared, func(m Message) bool { return strings.TrimSpace(m.Content) == want })
}

// parseImplicitPair reads chosen and rejected that each repeat the whole dialogue: message lists, or text with
// hh-rlhf's "\n\nHuman: " and "\n\nAssistant: " marks. What they share up to an assistant turn is the prompt.
func parseImplicitPair(o object) ([]Row, error) {
	chosen, err := o.turns("chosen", "assistant")
	if err != nil {
		return nil, err
	}
	rejected, err := o.turns("rejected", "assistant")
	if err != nil {
		return nil, err
	}
	var row Row
	if chosen.isText && rejected.isText {
		row, err = splitHH(chosen.text, rejected.text)
	} else {
		row, err = splitMessages(chosen.messages, rejected.messages)
	}
	if err == nil {
		err = o.margin(&row)
	}
	return []Row{row}, err
}

// splitMessages finds the longest shared prompt after which both dialogues go on with an assistant turn.
func splitMessages(chosen, rejected []Message) (Row, error) {
	shared := 0
	for n := range min(len(chosen), len(rejected)) {
		if isAssistant(chosen[n]) && isAssistant(rejected[n]) {
			shared = n
		}
		if chosen[n] != rejected[n] {
			break
		}
	}
	if shared == 0 {
		return Row{}, errors.New("chosen and rejected share no prompt: they part before the first assistant turn; add a \"prompt\" or fix the row")
	}
	return Row{Shape: ShapePair, MessagesOnly: true, Messages: chosen[:shared],
		ChosenMessages: chosen[shared:], RejectedMessages: rejected[shared:]}, nil
}

const (
	markHuman     = "\n\nHuman:"
	markAssistant = "\n\nAssistant:"
)

// splitHH parts two hh-rlhf dialogues into prompt and completions, as text and as messages.
func splitHH(chosen, rejected string) (Row, error) {
	chosenTurns, err := hhTurns(chosen)
	if err != nil {
		return Row{}, fmt.Errorf("\"chosen\" %w", err)
	}
	rejectedTurns, err := hhTurns(rejected)
	if err != nil {
		return Row{}, fmt.Errorf("\"rejected\" %w", err)
	}
	row, err := splitMessages(chosenTurns, rejectedTurns)
	if err != nil {
		return Row{}, err
	}
	cut := 0 // the text form is cut after as many marks as the prompt has turns, and the assistant's own mark
	for range len(row.Messages) + 1 {
		cut += nextMark(chosen[cut:])
	}
	if !strings.HasPrefix(rejected, chosen[:cut]) {
		return Row{}, errors.New("chosen and rejected differ within the prompt (white space); make them agree")
	}
	row.Format, row.MessagesOnly = "hh-rlhf dialogues", false
	row.Prompt, row.Chosen, row.Rejected = chosen[:cut], chosen[cut:], rejected[cut:]
	return row, nil
}

// nextMark returns the offset just behind the first turn mark of text.
func nextMark(text string) int {
	human, assistant := strings.Index(text, markHuman), strings.Index(text, markAssistant)
	if assistant < 0 || (human >= 0 && human < assistant) {
		return human + len(markHuman)
	}
	return assistant + len(markAssistant)
}

// hhTurns reads "\n\nHuman: …\n\nAssistant: …" into messages.
func hhTurns(text string) ([]Message, error) {
	if !strings.HasPrefix(text, markHuman) {
		return nil, errors.New("has no \"prompt\" beside it and does not begin with \"\\n\\nHuman:\"; add a prompt, or use dialogues or message lists")
	}
	var list []Message
	for rest := text; rest != ""; {
		role := "user"
		body, found := strings.CutPrefix(rest, markHuman)
		if !found {
			role, body = "assistant", strings.TrimPrefix(rest, markAssistant)
		}
		end := len(body)
		for _, mark := range []string{markHuman, markAssistant} {
			if i := strings.Index(body, mark); i >= 0 {
				end = min(end, i)
			}
		}
		list = append(list, Message{role, strings.TrimSpace(body[:end])})
		rest = body[end:]
	}
	return list, nil
}

// treeNode is a message of an OpenAssistant tree.
type treeNode struct {
	Text    string     `json:"text"`
	Role    string     `json:"role"`
	Rank    *int       `json:"rank"`
	Deleted bool       `json:"deleted"`
	Replies []treeNode `json:"replies"`
}

// parseTree turns every user turn with at least two ranked replies into a ranking.
func parseTree(o object) ([]Row, error) {
	var root treeNode
	if err := o.decode("prompt", &root); err != nil {
		return nil, err
	}
	return root.rankings(nil), nil
}

// rankings walks the tree depth-first; path holds the turns above the node.
func (n *treeNode) rankings(path []Message) []Row {
	role := n.Role
	if known, found := roleNames[role]; found {
		role = known
	}
	path = append(slices.Clip(path), Message{role, n.Text})
	var ranked []treeNode
	var rows []Row
	for _, reply := range n.Replies {
		if reply.Rank != nil && !reply.Deleted {
			ranked = append(ranked, reply)
		}
	}
	slices.SortStableFunc(ranked, func(a, b treeNode) int { return *a.Rank - *b.Rank })
	if role == "user" && len(ranked) >= 2 {
		row := Row{Shape: ShapeRanked, Messages: path, MessagesOnly: true}
		for _, reply := range ranked {
			row.RankedMessages = append(row.RankedMessages, []Message{{"assistant", reply.Text}})
		}
		rows = append(rows, row)
	}
	for i := range n.Replies {
		rows = append(rows, n.Replies[i].rankings(path)...)
	}
	return rows
}
