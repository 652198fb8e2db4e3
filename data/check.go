// The report on a data set before anything is trained on it: lengths, duplicates, leaks between training and
// evaluation, what truncation would do, and whether models would learn to stop.
package data

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"salsa/internal/fault"
)

// Spread sums up a set of lengths.
type Spread struct {
	Min    int     `json:"min"`
	Median int     `json:"median"`
	P90    int     `json:"p90"`
	P99    int     `json:"p99"`
	Max    int     `json:"max"`
	Mean   float64 `json:"mean"`
	Bins   []Bin   `json:"bins"` // a histogram of up to 20 equal bins
}

// Bin counts the lengths from From up to and including To.
type Bin struct {
	From  int `json:"from"`
	To    int `json:"to"`
	Count int `json:"count"`
}

// CheckReport is what Check finds. Counts are of rows unless they say otherwise.
type CheckReport struct {
	Detected    string   `json:"detected"`
	Rows        int      `json:"rows"`
	Tokens      int      `json:"tokens"`         // in all sequences
	Targets     int      `json:"target_tokens"`  // of them
	Unknown     int      `json:"unknown_tokens"` // of them: text for which the vocabulary has no token
	Sequence    Spread   `json:"sequence_length"`
	Prompt      Spread   `json:"prompt_length"`
	Completion  Spread   `json:"completion_length"`
	MaxLength   int      `json:"max_length"`
	Overlong    int      `json:"overlong"`        // with a sequence longer than MaxLength
	PromptOver  int      `json:"prompt_overlong"` // whose prompt alone fills MaxLength
	Empty       int      `json:"empty"`           // with a completion that is empty
	Ties        int      `json:"ties"`            // whose chosen and rejected are the same
	NoReply     int      `json:"no_completion"`   // that are prompts alone; the first is at NoReplyAt
	NoReplyAt   string   `json:"no_completion_at,omitempty"`
	NoStop      int      `json:"no_stop"`    // with a completion that does not end in a stop token
	Duplicates  int      `json:"duplicates"` // that repeat an earlier row
	PromptTwice int      `json:"repeated_prompts"`
	Leaks       int      `json:"leaks"`   // whose prompt is also in the evaluation data
	LeakAt      []string `json:"leak_at"` // the first few, "train.jsonl:3 = eval.jsonl:7"
	Bad         int      `json:"bad"`     // that cannot be encoded
	BadAt       []string `json:"bad_at"`  // the first few errors; one that rows share is there once, with their number
	Shown       *Example `json:"-"`       // one row to look at

	firstBad  string
	tok       Tokenizer
	sequences []int
	prompts   []int
	replies   []int
}

// listed bounds the places a report names.
const listed = 10

// Check examines rows against the encoder they will be trained with; eval may be nil. show is the index of the
// row to be displayed. Rows that cannot be encoded are part of the report; only an empty set is an error.
func Check(rows, eval []Row, enc *Encoder, show int) (*CheckReport, error) {
	if len(rows) == 0 {
		return nil, fault.Inputf("nothing to check: no rows")
	}
	if show < 0 || show >= len(rows) {
		return nil, fault.Inputf("no row %d to show; there are rows 1 to %d", show+1, len(rows))
	}
	r := &CheckReport{Detected: Detected(rows), Rows: len(rows), MaxLength: enc.MaxLength, tok: enc.Tok}
	free := *enc // measures without policies
	free.MaxLength, free.Empty = 0, EmptyKeep
	bad := causes{rows: map[string]int{}}
	for i := range rows {
		sequences, err := encodeAny(&free, &rows[i])
		if err != nil {
			bad.add(rows[i].At(), err.Error())
			continue
		}
		r.measure(enc, sequences)
		if i == show {
			r.Shown = &sequences[0]
		}
	}
	r.Sequence, r.Prompt, r.Completion = spread(r.sequences), spread(r.prompts), spread(r.replies)
	r.compare(rows, eval)
	r.Bad, r.BadAt, r.firstBad = bad.total, bad.list(), bad.firstError()
	return r, nil
}

// causes gathers errors of rows that differ in nothing but the row.
type causes struct {
	total int
	first []string       // the error of the first row of each of the listed causes
	keys  []string       // their causes
	rows  map[string]int // with a cause
}

// add takes the error of the row at a place.
func (c *causes) add(at, text string) {
	cause := strings.TrimPrefix(text, at)
	c.total++
	if c.rows[cause]++; c.rows[cause] == 1 && len(c.first) < listed {
		c.first, c.keys = append(c.first, text), append(c.keys, cause)
	}
}

// list says each cause once.
func (c *causes) list() (out []string) {
	for i, text := range c.first {
		if n := c.rows[c.keys[i]]; n > 1 {
			text += fmt.Sprintf(" (%d rows)", n)
		}
		out = append(out, text)
	}
	return out
}

func (c *causes) firstError() string {
	if len(c.first) == 0 {
		return ""
	}
	return c.first[0]
}

func appendListed(list []string, item string) []string {
	if len(list) < listed {
		return append(list, item)
	}
	return list
}

// encodeAny returns the sequences of a row of any shape: one, two for a pair, k for a ranking.
func encodeAny(enc *Encoder, row *Row) ([]Example, error) {
	switch row.Shape {
	case ShapePair, ShapeRanked:
		return enc.Ranking(row)
	case ShapePrompt:
		p, err := enc.Prompt(row)
		return []Example{{IDs: p.IDs, PromptLen: len(p.IDs), Mask: make([]bool, len(p.IDs)), Row: row}}, err
	default:
		x, err := enc.SFT(row)
		return []Example{x}, err
	}
}

// measure adds one row to the report.
func (r *CheckReport) measure(enc *Encoder, sequences []Example) {
	var overlong, promptOver, empty, noStop bool
	row := sequences[0].Row
	for _, x := range sequences {
		reply := len(x.IDs) - x.PromptLen
		r.Tokens += len(x.IDs)
		r.Targets += x.Targets()
		r.Unknown += unknown(enc.Tok, x.IDs)
		r.sequences = append(r.sequences, len(x.IDs))
		r.prompts = append(r.prompts, x.PromptLen)
		overlong = overlong || (enc.MaxLength > 0 && len(x.IDs) > enc.MaxLength)
		promptOver = promptOver || (enc.MaxLength > 0 && x.PromptLen >= enc.MaxLength)
		if row.Shape == ShapePrompt {
			r.NoReplyAt = cmp.Or(r.NoReplyAt, row.At())
			r.NoReply++
			continue
		}
		r.replies = append(r.replies, reply)
		last := lastTarget(x)
		noStop = noStop || last < 0 || !enc.isStop(x.IDs[last])
		empty = empty || reply == 0 || (reply == 1 && enc.isStop(x.IDs[len(x.IDs)-1]))
	}
	r.Overlong += one(overlong)
	r.PromptOver += one(promptOver)
	r.Empty += one(empty)
	r.NoStop += one(noStop)
	r.Ties += one(len(sequences) == 2 && slices.Equal(sequences[0].IDs, sequences[1].IDs))
}

// unknown counts the ids that stand for text outside the vocabulary.
func unknown(tok Tokenizer, ids []int) (n int) {
	unk, ok := tok.UnknownID()
	for _, id := range ids {
		n += one(ok && id == unk)
	}
	return n
}

func one(condition bool) int {
	if condition {
		return 1
	}
	return 0
}

// lastTarget returns the position of the last target, or -1.
func lastTarget(x Example) int {
	for i := len(x.Mask) - 1; i >= 0; i-- {
		if x.Mask[i] {
			return i
		}
	}
	return -1
}

// compare looks for repeated rows and prompts, and for prompts that the evaluation data holds too. Prompts are
// compared without regard to case and white space.
func (r *CheckReport) compare(rows, eval []Row) {
	evalAt := map[[32]byte]string{}
	for i := range eval {
		evalAt[promptKey(&eval[i])] = eval[i].At()
	}
	seenRow, seenPrompt := map[[32]byte]bool{}, map[[32]byte]bool{}
	for i := range rows {
		prompt, whole := promptKey(&rows[i]), rowKey(&rows[i])
		r.Duplicates += one(seenRow[whole])
		r.PromptTwice += one(seenPrompt[prompt])
		seenRow[whole], seenPrompt[prompt] = true, true
		if at, leaked := evalAt[prompt]; leaked {
			r.Leaks++
			r.LeakAt = appendListed(r.LeakAt, rows[i].At()+" = "+at)
		}
	}
}

// promptKey identifies what a row asks; for plain text, the text.
func promptKey(row *Row) [32]byte {
	var text string
	switch {
	case row.HasIDs:
		return sha256.Sum256(fmt.Append(nil, row.PromptIDs))
	case row.Shape == ShapeText:
		text = row.Text
	case len(row.Messages) > 0:
		for _, m := range promptTurns(row) {
			text += " " + m.Content
		}
	default:
		text = row.Prompt
	}
	return sha256.Sum256([]byte(strings.ToLower(strings.Join(strings.Fields(text), " "))))
}

// rowKey identifies everything a row holds.
func rowKey(row *Row) [32]byte {
	content := *row
	content.File, content.Line = "", 0
	return sha256.Sum256(fmt.Appendf(nil, "%#v", content))
}

// Err returns what makes the data unfit for training, as one error, or nil: rows that cannot be encoded, and
// completions none of which ends in a stop token.
func (r *CheckReport) Err() error {
	var errs []string
	if r.Bad > 0 {
		errs = append(errs, fmt.Sprintf("%d of %d rows cannot be used, the first: %s", r.Bad, r.Rows, r.firstBad))
	}
	if r.Targets > 0 && r.NoStop == r.Rows-r.Bad {
		errs = append(errs, "no completion ends in a stop token, so the model would never learn to stop; choose another --chat-template, "+
			"or put the id of the token that ends completions into eos_token_id of generation_config.json")
	}
	if errs == nil {
		return nil
	}
	return fault.Inputf("%s", strings.Join(errs, "; "))
}

// spread sums up lengths; percentiles are the nearest rank.
func spread(lengths []int) Spread {
	if len(lengths) == 0 {
		return Spread{}
	}
	sorted := slices.Clone(lengths)
	slices.Sort(sorted)
	rank := func(p int) int { return sorted[(len(sorted)*p+99)/100-1] }
	s := Spread{Min: sorted[0], Median: rank(50), P90: rank(90), P99: rank(99), Max: sorted[len(sorted)-1]}
	width := (s.Max-s.Min)/20 + 1
	for from := s.Min; from <= s.Max; from += width {
		s.Bins = append(s.Bins, Bin{From: from, To: min(from+width-1, s.Max)})
	}
	sum := 0
	for _, n := range sorted {
		sum += n
		s.Bins[(n-s.Min)/width].Count++
	}
	s.Mean = float64(sum) / float64(len(sorted))
	return s
}
