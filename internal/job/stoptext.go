package job

// What shapes completions beyond the draw of a token: a penalty on repetition, and texts that end them.

import (
	"slices"
	"strings"

	"salsa/data"
	"salsa/internal/fault"
)

// Shaping are the options that change what a model writes. Only generate and chat have them: whatever measures or
// trains a model needs its own distribution.
type Shaping struct {
	RepetitionPenalty float64  `yaml:"repetition_penalty" help:"make tokens that prompt and completion already have less likely: their logits are divided by it if positive, else multiplied; 1: off" check:">0"`
	Stop              []string `yaml:"stop" sep:"none" arg:"TEXT" help:"end a completion with the token that completes this text, and cut the text before it; may be repeated"`
}

func defaultShaping() Shaping { return Shaping{RepetitionPenalty: 1} }

// check refuses texts that could not be looked for in what enc decodes.
func (s *Shaping) check(dir string, enc *data.Encoder) error {
	switch {
	case slices.Contains(s.Stop, ""):
		return fault.Inputf("--stop: the text is empty, and every completion has it; give a text or leave it out")
	case len(s.Stop) > 0 && enc.Tok == nil:
		return fault.Inputf("%s: holds no tokenizer, so --stop has no text to look at; copy tokenizer.json there", dir)
	}
	return nil
}

// ends returns what tells a generation that a stop text is complete; nil without stop texts.
func (s *Shaping) ends(enc *data.Encoder) func(ids []int) bool {
	if len(s.Stop) == 0 {
		return nil
	}
	// All of the text is decoded for each token: what a stream would hold back, such as a newline spelt as a byte,
	// counts at once, and a token of the model takes far longer than the decoding.
	return func(ids []int) bool {
		_, found := s.cut(completionText(enc, ids))
		return found
	}
}

// cut returns text up to the first of the stop texts in it.
func (s *Shaping) cut(text string) (before string, found bool) {
	first := len(text)
	for _, stop := range s.Stop {
		if at := strings.Index(text, stop); at >= 0 {
			first, found = min(first, at), true
		}
	}
	return text[:first], found
}

// held returns how many bytes at the end of text begin a stop text, so that they must not be shown yet.
func (s *Shaping) held(text string) int {
	most := 0
	for _, stop := range s.Stop {
		for n := min(len(stop)-1, len(text)); n > most; n-- {
			if strings.HasSuffix(text, stop[:n]) {
				most = n
			}
		}
	}
	return most
}
