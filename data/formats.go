// The formats: which keys a JSON record has decides how it is read. A format is one entry of the table
// and one function; what it returns is a Row in one of the few shapes the encoder knows.
package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// object is a JSON object whose values are decoded when a format asks for them. Null counts as absent.
type object map[string]json.RawMessage

// format is read by parse when all its keys are present; the first match in the table wins.
type format struct {
	name  string
	keys  []string
	parse func(object) ([]Row, error)
}

// formats is ordered from the most to the least telling keys: a preference row may also carry "messages",
// a dialogue row a "prompt".
var formats = []format{
	{"preference ids", []string{"prompt_ids", "chosen_ids", "rejected_ids"}, parseIDs},
	{"prompt and completion ids", []string{"prompt_ids", "completion_ids"}, parseIDs},
	{"prompt ids", []string{"prompt_ids"}, parseIDs},
	{"rankings", []string{"prompt", "ranked"}, parseRanked},
	{"sharegpt preferences", []string{"conversations", "chosen", "rejected"}, parsePair("conversations")},
	{"alpaca preferences", []string{"instruction", "chosen", "rejected"}, parseAlpacaPair},
	{"preferences", []string{"prompt", "chosen", "rejected"}, parsePair("prompt")},
	{"dialogue preferences", []string{"chosen", "rejected"}, parseImplicitPair},
	{"stack-exchange preferences", []string{"question", "response_j", "response_k"}, parseStackExchange},
	{"messages", []string{"messages"}, parseDialogue("messages")},
	{"sharegpt", []string{"conversations"}, parseDialogue("conversations")},
	{"self-instruct tasks", []string{"instruction", "instances"}, parseSelfInstruct},
	{"alpaca", []string{"instruction", "output"}, parseAlpaca("output")},
	{"instruction and response", []string{"instruction", "response"}, parseAlpaca("response")},
	{"prompt and completion", []string{"prompt", "completion"}, parseDemo("prompt", "completion")},
	{"prompt and response", []string{"prompt", "response"}, parseDemo("prompt", "response")},
	{"question and answer", []string{"question", "answer"}, parseDemo("question", "answer")},
	{"oasst trees", []string{"message_tree_id", "prompt"}, parseTree},
	{"text", []string{"text"}, parseText},
	{"prompts", []string{"prompt"}, parsePrompt("prompt")},
	{"questions", []string{"question"}, parsePrompt("question")},
	{"instructions", []string{"instruction"}, parseAlpaca("")},
}

// parseRecord turns one raw record into rows: one as a rule, several for trees and task collections,
// none where a record holds nothing to learn from (a tree without rankings).
func parseRecord(rec record, columns map[string]string) ([]Row, error) {
	if rec.json == nil {
		return []Row{{Shape: ShapeText, Text: rec.text, Format: "plain text"}}, nil
	}
	if rec.json[0] == '"' {
		var prompt string
		if err := json.Unmarshal(rec.json, &prompt); err != nil {
			return nil, badJSON(err)
		}
		return []Row{{Shape: ShapePrompt, Prompt: prompt, Format: "prompt strings"}}, nil
	}
	var obj object
	if err := json.Unmarshal(rec.json, &obj); err != nil {
		return nil, badJSON(err)
	}
	if err := obj.rename(columns); err != nil {
		return nil, err
	}
	for _, f := range formats {
		if !obj.has(f.keys...) {
			continue
		}
		rows, err := f.parse(obj)
		for i := range rows {
			if rows[i].Format == "" {
				rows[i].Format = f.name
			}
		}
		return rows, err
	}
	return nil, obj.unknown()
}

func badJSON(err error) error {
	return fmt.Errorf("not a JSON object (%w); every record must be one, e.g. {\"prompt\": \"…\", \"completion\": \"…\"}", err)
}

// rename gives the file's own keys the names the formats know.
func (o object) rename(columns map[string]string) error {
	ours := make([]string, 0, len(columns))
	for key := range columns {
		ours = append(ours, key)
	}
	slices.Sort(ours)
	for _, key := range ours {
		value, found := o[columns[key]]
		if !found {
			return fmt.Errorf("no key %q to use as %q; the row has %s", columns[key], key, o.keys())
		}
		o[key] = value
	}
	return nil
}

func (o object) has(keys ...string) bool {
	for _, key := range keys {
		if value, found := o[key]; !found || string(value) == "null" {
			return false
		}
	}
	return true
}

// keys lists the keys in order, shortened where a row has very many.
func (o object) keys() string {
	if len(o) == 0 {
		return "no keys"
	}
	keys := make([]string, 0, len(o))
	for key := range o {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if len(keys) > 20 {
		keys = append(keys[:20], "…")
	}
	return strings.Join(keys, ", ")
}

// unknown is the error for a record no format matches.
func (o object) unknown() error {
	return fmt.Errorf("cannot tell what this row is: it has %s; needed is one of prompt+completion, messages, prompt+chosen+rejected, "+
		"prompt_ids+completion_ids, prompt_ids+chosen_ids+rejected_ids, prompt, prompt_ids, text, instruction+output, question+answer, conversations", o.keys())
}

// decode reads the value under key into dst; absent and null leave dst alone.
func (o object) decode(key string, dst any) error {
	if !o.has(key) {
		return nil
	}
	if err := json.Unmarshal(o[key], dst); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return fmt.Errorf("%q holds a JSON %s where %s is needed", key, kind.Value, wanted(kind.Type))
		}
		return fmt.Errorf("%q: %w", key, err)
	}
	return nil
}

// wanted says in JSON's words what a Go type is read from.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		if t.Elem() == reflect.TypeFor[Message]() {
			return "a text or a list of messages"
		}
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "a " + t.String()
	}
}

// text reads strings under the given keys in turn.
func (o object) text(keys ...string) ([]string, error) {
	values := make([]string, len(keys))
	for i, key := range keys {
		if err := o.decode(key, &values[i]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// margin reads "margin", or the difference of the two scores that UltraFeedback rows carry.
func (o object) margin(row *Row) error {
	var chosen, rejected float64
	switch {
	case o.has("margin"):
		row.HasMargin = true
		return o.decode("margin", &row.Margin)
	case o.has("score_chosen", "score_rejected"):
		row.HasMargin = true
		err := errors.Join(o.decode("score_chosen", &chosen), o.decode("score_rejected", &rejected))
		row.Margin = chosen - rejected
		return err
	default:
		return nil
	}
}
