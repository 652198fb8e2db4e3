// Package data turns files of demonstrations, preferences and prompts into token sequences for
// training: readers that stream rows, an encoder that marks which tokens are targets, a shuffled
// order that can be saved mid-epoch, mixtures, packing, chat templates and a report on the data.
//
// This file holds the row: what one line of any supported file means, whatever its keys were called.
// Nothing in this package uses libtorch; everything it makes are Go slices.
package data

import (
	"fmt"
	"strings"
)

// Message is one turn of a chat. Role is "system", "user", "assistant" or what else a template knows.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Shape says which fields of a Row are filled.
type Shape uint8

// The shapes a row can take, one per way the encoder treats it.
const (
	ShapeText     Shape = iota + 1 // Text: every token is a target
	ShapePrompt                    // Prompt, PromptIDs or Messages: something to answer
	ShapeDemo                      // a prompt with the completion to imitate
	ShapePair                      // a prompt with a chosen and a rejected completion
	ShapeRanked                    // a prompt with k ≥ 2 completions, best first
	ShapeDialogue                  // Messages whose assistant turns are all targets
)

var shapeNames = [...]string{"", "text", "prompt", "prompt and completion", "preference pair", "ranked completions", "dialogue"}

// String names the shape in words for reports and errors.
func (s Shape) String() string { return shapeNames[s] }

// Row is one record of a data file. Its three levels — ids, messages, text — are alternatives: ids are
// used as they are, else messages if there is a chat template, else text.
type Row struct {
	Shape  Shape
	Format string // the detected format, such as "hh-rlhf"
	File   string // as given to Open
	Line   int    // 1-based; for .parquet the row number

	Prompt, Completion string
	Text               string
	Chosen, Rejected   string
	Ranked             []string // best first

	PromptIDs, CompletionIDs []int
	ChosenIDs, RejectedIDs   []int
	HasIDs                   bool // the ids are the row, even where they are empty

	// Messages is the shared prompt for demonstrations, pairs and rankings (or the whole dialogue for
	// ShapeDialogue); the others hold only the turns that follow it.
	Messages                         []Message
	CompletionMessages               []Message
	ChosenMessages, RejectedMessages []Message
	RankedMessages                   [][]Message
	MessagesOnly                     bool // no text form: a chat template is required

	Margin    float64 // how much better chosen is than rejected, if the file says so
	HasMargin bool

	Mix    *Mix // weights by which files are drawn from; nil: every row once an epoch
	Source int  // the row's file in Mix
}

// At names the row's place, "rows.jsonl:31", for error messages.
func (r *Row) At() string { return fmt.Sprintf("%s:%d", r.File, r.Line) }

// HasCompletion reports whether the row holds a demonstration that SFT can imitate.
func (r *Row) HasCompletion() bool {
	return r.Shape == ShapeDemo || r.Completion != "" || r.CompletionIDs != nil || r.CompletionMessages != nil
}

// Detected says in one line what kinds of rows were found, with counts in order of first appearance,
// e.g. "1,100 rows: alpaca preferences".
func Detected(rows []Row) string {
	var order []string
	count := map[string]int{}
	for i := range rows {
		if count[rows[i].Format] == 0 {
			order = append(order, rows[i].Format)
		}
		count[rows[i].Format]++
	}
	if len(order) == 1 {
		return fmt.Sprintf("%d rows: %s", len(rows), order[0])
	}
	parts := make([]string, len(order))
	for i, name := range order {
		parts[i] = fmt.Sprintf("%d %s", count[name], name)
	}
	return fmt.Sprintf("%d rows: %s", len(rows), strings.Join(parts, ", "))
}
