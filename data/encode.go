// The encoder: from rows to token sequences with the targets marked. Everything that decides where a
// completion begins, whether it ends in a stop token and what happens when it is too long is in this file
// and encode_chat.go.
package data

import (
	"fmt"
	"slices"
	"strings"

	"salsa/internal/fault"
)

// Tokenizer is what the encoder needs of a tokenizer; *tokenizer.Tokenizer is one.
type Tokenizer interface {
	// Encode turns text into ids; special adds the tokenizer's own bos or eos.
	Encode(text string, special bool) []int
	// Decode turns ids back into text.
	Decode(ids []int, skipSpecial bool) string
	// TokenID looks up one token of the vocabulary.
	TokenID(token string) (int, bool)
	// UnknownID is the id that stands for text outside the vocabulary, if there is one.
	UnknownID() (int, bool)
	// VocabSize is the highest id + 1.
	VocabSize() int
}

// Example is one sequence to train on or to score.
type Example struct {
	IDs       []int
	PromptLen int    // tokens before the first completion token
	Mask      []bool // Mask[i]: IDs[i] is a target. Mask[0] never is: nothing comes before it to predict it from
	Cut       int    // tokens that truncation removed
	Row       *Row   // where it came from
}

// Targets counts the target tokens.
func (e *Example) Targets() int {
	n := 0
	for _, target := range e.Mask {
		if target {
			n++
		}
	}
	return n
}

// Completion returns the tokens after the prompt.
func (e *Example) Completion() []int { return e.IDs[e.PromptLen:] }

// Pair is two completions of one prompt.
type Pair struct {
	Chosen, Rejected Example
	Margin           float64
}

// Ranking is k ≥ 2 completions of one prompt, best first.
type Ranking []Example

// Prompt is something to answer. Text is the prompt as rendered; Row carries the reference answer, if any.
type Prompt struct {
	IDs  []int
	Text string
	Cut  int // tokens that truncation removed
	Row  *Row
}

// Overlong says what to do with a sequence longer than Encoder.MaxLength.
type Overlong string

// The policies for sequences that are too long. Whichever is chosen, Counts says how often it acted.
const (
	OverlongError         Overlong = "error" // refuse the row; so does "", for commands that have no --overlong
	OverlongDrop          Overlong = "drop"
	OverlongTruncateLeft  Overlong = "truncate-left"  // cut the prompt's start, keep a leading bos
	OverlongTruncateRight Overlong = "truncate-right" // cut the completion's end, and its eos with it
)

// Empty says what to do with a completion that has no tokens of its own.
type Empty string

// The policies for empty completions.
const (
	EmptyError Empty = "error" // refuse the row; also the meaning of ""
	EmptyDrop  Empty = "drop"
	EmptyKeep  Empty = "keep" // the eos alone is then the target, if one is added
)

// Encoder turns rows into token sequences. It is immutable once in use and safe for concurrent use if its
// tokenizer is.
type Encoder struct {
	Tok       Tokenizer // nil: only rows of ids can be encoded
	Vocab     int       // ids of rows must be below it; 0: not checked
	Template  *Template // for messages; nil: rows that are only messages are refused
	WrapText  bool      // treat plain prompt and completion strings as a user and an assistant turn
	BOS       int       // to recognise doubled ones; -1: none
	EOS       int       // ends each text completion and is a target; -1: none is added
	Stops     []int     // tokens that end an assistant turn, beside EOS
	MaxLength int       // longest sequence in tokens; 0: no limit
	Room      int       // new tokens that MaxLength leaves a context's rest to; 0: it stands for itself
	Overlong  Overlong
	Empty     Empty
}

// NewEncoder returns an encoder that adds eos (-1: none) after text completions and has no length limit.
func NewEncoder(tok Tokenizer, bos, eos int) *Encoder {
	return &Encoder{Tok: tok, BOS: bos, EOS: eos}
}

// A Skip is the error for a row that a policy drops: EncodeAll counts it and goes on.
type Skip struct{ At, Reason string }

// Error names the row and why it was dropped.
func (s *Skip) Error() string { return s.At + ": dropped: " + s.Reason }

// The reasons of a Skip.
const (
	SkipOverlong = "longer than the maximum length"
	SkipEmpty    = "empty completion"
)

// sequence is an encoded row before the length policy.
type sequence struct {
	ids  []int
	mask []bool
}

// SFT encodes a row for imitation. A preference row teaches its "output" or "completion" if it has one, else
// its chosen completion; a ranking its best.
func (e *Encoder) SFT(row *Row) (Example, error) {
	switch {
	case row.Shape == ShapeText:
		return e.plain(row)
	case row.Shape == ShapePrompt:
		return Example{}, fault.Inputf("%s: a prompt without a completion (%s); give both", row.At(), row.Format)
	case row.HasCompletion():
		return e.completion(row, row.CompletionIDs, row.Completion, row.CompletionMessages)
	case row.Shape == ShapePair:
		return e.completion(row, row.ChosenIDs, row.Chosen, row.ChosenMessages)
	case row.Shape == ShapeRanked:
		best := rankedAt(row, 0)
		return e.completion(row, nil, best.text, best.messages)
	default:
		return e.completion(row, nil, "", nil)
	}
}

// Pair encodes a preference row. The first and the last of a ranking are its clearest pair.
func (e *Encoder) Pair(row *Row) (Pair, error) {
	var chosen, rejected Example
	var err error
	switch row.Shape {
	case ShapePair:
		if chosen, err = e.completion(row, row.ChosenIDs, row.Chosen, row.ChosenMessages); err == nil {
			rejected, err = e.completion(row, row.RejectedIDs, row.Rejected, row.RejectedMessages)
		}
	case ShapeRanked:
		var all Ranking
		if all, err = e.Ranking(row); err == nil {
			chosen, rejected = all[0], all[len(all)-1]
		}
	default:
		err = fault.Inputf("%s: %s where a preference is needed; give chosen and rejected", row.At(), row.Shape)
	}
	if err != nil {
		return Pair{}, err
	}
	return e.sameCut(Pair{Chosen: chosen, Rejected: rejected, Margin: row.Margin}), nil
}

// Ranking encodes all completions of a row, best first; a preference is a ranking of two.
func (e *Encoder) Ranking(row *Row) (Ranking, error) {
	if row.Shape == ShapePair {
		pair, err := e.Pair(row)
		return Ranking{pair.Chosen, pair.Rejected}, err
	}
	if row.Shape != ShapeRanked {
		return nil, fault.Inputf("%s: %s where a ranking is needed; give \"ranked\", or chosen and rejected", row.At(), row.Shape)
	}
	all := make(Ranking, max(len(row.Ranked), len(row.RankedMessages)))
	for k := range all {
		reply := rankedAt(row, k)
		var err error
		if all[k], err = e.completion(row, nil, reply.text, reply.messages); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// rankedAt returns the k-th completion in whichever forms the row has.
func rankedAt(row *Row, k int) turns {
	var reply turns
	if k < len(row.Ranked) {
		reply.text = row.Ranked[k]
	}
	if k < len(row.RankedMessages) {
		reply.messages = row.RankedMessages[k]
	}
	return reply
}

// Prompt encodes what is to be answered: the row without its completions, the last assistant turns of a
// dialogue taken off.
func (e *Encoder) Prompt(row *Row) (Prompt, error) {
	p := Prompt{Row: row}
	var err error
	switch {
	case row.HasIDs:
		p.IDs, p.Text = row.PromptIDs, e.Decode(row.PromptIDs, false)
		err = e.checkIDs(row, row.PromptIDs)
	case row.Shape == ShapeText:
		err = fault.Inputf("%s: plain text where a prompt is needed; give \"prompt\"", row.At())
	default:
		p.Text, p.IDs, err = e.promptIDs(row)
	}
	if err != nil {
		return p, err
	}
	if len(p.IDs) == 0 {
		return p, fault.Inputf("%s: the prompt has no tokens; give at least one (a tokenizer that adds bos gives one)", row.At())
	}
	return e.fitPrompt(p)
}

// fitPrompt applies the length policy to a prompt.
func (e *Encoder) fitPrompt(p Prompt) (Prompt, error) {
	n := len(p.IDs)
	if e.MaxLength == 0 || n <= e.MaxLength {
		return p, e.checkBOS(p.IDs, p.Row)
	}
	p.Cut = n - e.MaxLength
	switch e.Overlong {
	case OverlongDrop:
		return p, &Skip{p.Row.At(), SkipOverlong}
	case OverlongTruncateLeft:
		p.IDs = e.cutLeft(p.IDs, p.Cut)
	case OverlongTruncateRight:
		p.IDs = p.IDs[:e.MaxLength]
	default:
		return p, e.tooLong(p.Row, "the prompt", n)
	}
	return p, e.checkBOS(p.IDs, p.Row)
}

// completion encodes the row's prompt with one completion, given in the forms it has.
func (e *Encoder) completion(row *Row, ids []int, text string, messages []Message) (Example, error) {
	switch {
	case row.HasIDs:
		seq := sequence{ids: slices.Concat(row.PromptIDs, ids)}
		if err := e.checkIDs(row, seq.ids); err != nil {
			return Example{}, err
		}
		return e.finish(row, seq, len(row.PromptIDs), len(ids) == 0)
	case e.usesMessages(row):
		return e.chat(row, text, messages)
	case row.MessagesOnly:
		return Example{}, errNoTemplate(row)
	case e.Tok == nil:
		return Example{}, errNoTokenizer(row)
	}
	prompt := e.Tok.Encode(row.Prompt, true)
	joint := e.Tok.Encode(row.Prompt+text, true)
	seq := sequence{ids: e.endWithEOS(joint)}
	return e.finish(row, seq, commonPrefix(prompt, joint), text == "")
}

// plain encodes running text: every token is a target but the first.
func (e *Encoder) plain(row *Row) (Example, error) {
	if e.Tok == nil {
		return Example{}, errNoTokenizer(row)
	}
	ids := e.endWithEOS(e.Tok.Encode(row.Text, true))
	return e.finish(row, sequence{ids: ids}, min(1, len(ids)), row.Text == "")
}

// endWithEOS appends the eos unless the tokenizer has put one there, or none is wanted.
func (e *Encoder) endWithEOS(ids []int) []int {
	if e.EOS < 0 || (len(ids) > 0 && ids[len(ids)-1] == e.EOS) {
		return ids
	}
	return append(slices.Clip(ids), e.EOS)
}

// finish marks the targets (everything from promptLen on, unless seq brings its mask), and applies the
// policies for empty and for overlong rows.
func (e *Encoder) finish(row *Row, seq sequence, promptLen int, empty bool) (Example, error) {
	if empty && e.Empty != EmptyKeep {
		if e.Empty == EmptyDrop {
			return Example{}, &Skip{row.At(), SkipEmpty}
		}
		return Example{}, fault.Inputf("%s: empty completion; remove the row, or drop or keep such rows with --empty drop|keep", row.At())
	}
	if seq.mask == nil {
		seq.mask = make([]bool, len(seq.ids))
		for i := promptLen; i < len(seq.mask); i++ {
			seq.mask[i] = true
		}
	}
	if len(seq.mask) > 0 {
		seq.mask[0] = false
	}
	if err := e.checkBOS(seq.ids, row); err != nil {
		return Example{}, err
	}
	return e.fit(Example{IDs: seq.ids, Mask: seq.mask, PromptLen: promptLen, Row: row})
}

// fit applies the length policy to an example.
func (e *Encoder) fit(x Example) (Example, error) {
	n := len(x.IDs)
	if e.MaxLength == 0 || n <= e.MaxLength {
		return x, nil
	}
	x.Cut = n - e.MaxLength
	switch e.Overlong {
	case OverlongDrop:
		return Example{}, &Skip{x.Row.At(), SkipOverlong}
	case OverlongTruncateLeft:
		x.IDs, x.Mask = e.cutLeft(x.IDs, x.Cut), e.cutMask(x)
		x.PromptLen = max(0, x.PromptLen-x.Cut)
		x.Mask[0] = false
	case OverlongTruncateRight:
		if x.PromptLen >= e.MaxLength {
			return Example{}, e.tooLong(x.Row, "the prompt alone", x.PromptLen)
		}
		x.IDs, x.Mask = x.IDs[:e.MaxLength], x.Mask[:e.MaxLength]
	default:
		return Example{}, e.tooLong(x.Row, "the row", n)
	}
	return x, nil
}

// cutLeft removes cut tokens at the start, but keeps a leading bos, without which some models fail.
func (e *Encoder) cutLeft(ids []int, cut int) []int {
	if e.BOS >= 0 && ids[0] == e.BOS {
		return append([]int{e.BOS}, ids[cut+1:]...)
	}
	return ids[cut:]
}

func (e *Encoder) cutMask(x Example) []bool { return slices.Clone(x.Mask[x.Cut:]) }

func (e *Encoder) tooLong(row *Row, what string, n int) error {
	remedy, limit := "shorten it", fmt.Sprintf("the maximum length of %d", e.MaxLength)
	if e.Overlong != "" {
		remedy = "raise --max-length if the model's context allows, or choose another --overlong"
	}
	if e.Room > 0 {
		limit = fmt.Sprintf("the %d that %d new ones leave of the context", e.MaxLength, e.Room)
		remedy = strings.Replace(remedy, "raise --max-length if the model's context allows", "lower --max-new-tokens", 1)
	}
	return fault.Inputf("%s: %s has %d tokens, more than %s; %s", row.At(), what, n, limit, remedy)
}

// checkBOS refuses sequences that begin with two bos tokens: one from the tokenizer and one in the text.
func (e *Encoder) checkBOS(ids []int, row *Row) error {
	if e.BOS >= 0 && len(ids) >= 2 && ids[0] == e.BOS && ids[1] == e.BOS {
		return fault.Inputf("%s: begins with two bos tokens (id %d); the tokenizer adds one, so remove the one in the text or ids", row.At(), e.BOS)
	}
	return nil
}

// checkIDs refuses ids that the vocabulary lacks.
func (e *Encoder) checkIDs(row *Row, ids []int) error {
	for _, id := range ids {
		if e.Vocab > 0 && id >= e.Vocab {
			return fault.Inputf("%s: token id %d is not below the model's vocab_size %d; use ids of the model's own tokenizer", row.At(), id, e.Vocab)
		}
	}
	return nil
}

// errNoTokenizer refuses a row of text where there is no tokenizer.
func errNoTokenizer(row *Row) error {
	return fault.Inputf("%s: text (%s), and the model's folder has neither tokenizer.json nor tokenizer.model; copy one there, or give rows of ids",
		row.At(), row.Format)
}

// Decode turns ids into text; without a tokenizer there is none.
func (e *Encoder) Decode(ids []int, skipSpecial bool) string {
	if e.Tok == nil {
		return ""
	}
	return e.Tok.Decode(ids, skipSpecial)
}

// commonPrefix returns how many leading ids a and b share.
func commonPrefix(a, b []int) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
