package job

// salsa chat: a conversation in a terminal, or prompts line by line through a pipe.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"salsa/data"
	"salsa/data/tokenizer"
	"salsa/internal/fault"
	"salsa/models"
	"salsa/tensor"
)

// ChatOptions are the options of `salsa chat`.
type ChatOptions struct {
	Model  string `yaml:"model" required:"true" input:"path" arg:"DIR" help:"language model; with a chat template it converses, without one it completes each line"`
	System string `yaml:"system" arg:"TEXT" help:"system message that begins every conversation"`
	Base
	Drawing
	Shaping
}

// DefaultChat returns the defaults.
func DefaultChat() ChatOptions {
	return ChatOptions{Base: defaultBase(), Drawing: Drawing{Picking: Picking{Temperature: 0.7, TopP: 1}}, Shaping: defaultShaping()}
}

// Terminal is where a chat takes place.
type Terminal struct {
	In          io.Reader
	Out         io.Writer        // answers
	Err         io.Writer        // marks, remarks and rates
	Interactive bool             // a person types: mark where, and let mistakes pass
	Interrupts  <-chan os.Signal // each stops the answer under way; nil: none come
}

// chat is the state of a conversation.
type chat struct {
	o     *ChatOptions
	term  Terminal
	enc   *data.Encoder
	tok   *tokenizer.Tokenizer
	lines <-chan string
	turns []data.Message

	answers, tokens int
	spent           time.Duration
}

// Chat runs the job until the input ends or /exit. It returns how many answers and tokens there were.
func Chat(ctx context.Context, o *ChatOptions, term Terminal) (map[string]float64, error) {
	c, err := newChat(o, term)
	if err != nil {
		return nil, err
	}
	err = compute(&o.Base, func(opt models.Options) error {
		m, err := models.Load(o.Model, opt)
		if err != nil {
			return err
		}
		c.lines = readLines(ctx, term.In)
		return c.talk(ctx, m)
	})
	scalars := map[string]float64{"answers": float64(c.answers), "completion_tokens": float64(c.tokens)}
	if c.tokens > 0 {
		scalars["tokens_per_s"] = float64(c.tokens) / c.spent.Seconds()
	}
	return scalars, err
}

func newChat(o *ChatOptions, term Terminal) (*chat, error) {
	cfg, err := models.ReadConfig(o.Model)
	if err != nil {
		return nil, err
	}
	enc, err := newEncoder(o.Model, cfg, 0, "error")
	if err != nil {
		return nil, err
	}
	tok, ok := enc.Tok.(*tokenizer.Tokenizer)
	if !ok || tok == nil {
		return nil, fault.Inputf("%s: holds no tokenizer, so there is nothing to talk in; copy tokenizer.json there", o.Model)
	}
	if err := o.check(o.Model, enc); err != nil {
		return nil, err
	}
	if o.System != "" && enc.Template == nil {
		return nil, fault.Inputf("%s: has no chat template, so --system has no place; leave it out, or add chat_template.jinja", o.Model)
	}
	c := &chat{o: o, term: term, enc: enc, tok: tok}
	c.reset()
	return c, nil
}

// reset begins the conversation anew.
func (c *chat) reset() {
	c.turns = nil
	if c.o.System != "" {
		c.turns = []data.Message{{Role: "system", Content: c.o.System}}
	}
}

// readLines hands over the lines of r one by one; the channel is closed at the end. Where r is a terminal the
// goroutine waits in Read for as long as the process lives.
func readLines(ctx context.Context, r io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for line := range eachLine(r) {
			select {
			case lines <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// remark tells a person something that is no part of the answers.
func (c *chat) remark(format string, args ...any) {
	if !c.o.Quiet {
		fmt.Fprintf(c.term.Err, format, args...)
	}
}

// talk answers line after line.
func (c *chat) talk(ctx context.Context, m models.Model) error {
	if c.term.Interactive {
		mode := "a chat template: this is a conversation"
		if c.enc.Template == nil {
			mode = "no chat template: each line is completed by itself"
		}
		c.remark("%s has %s. Ctrl-C stops an answer, /reset forgets, Ctrl-D or /exit leaves.\n", c.o.Model, mode)
	}
	for {
		line, more, err := c.next(ctx)
		if err != nil || !more {
			return err
		}
		switch strings.TrimSpace(line) {
		case "":
			continue
		case "/exit":
			return nil
		case "/reset":
			c.reset()
			continue
		}
		if err = unknownCommand(line); err == nil {
			err = c.answer(ctx, m, line)
		}
		var mistake *fault.Error
		if c.term.Interactive && errors.As(err, &mistake) {
			c.remark("%s\n", mistake.Msg)
			continue
		}
		if err != nil {
			return err
		}
	}
}

// unknownCommand refuses a line that is meant for salsa and not for the model, by its first word: a / and letters. Paths
// have a second / and go to the model.
func unknownCommand(line string) error {
	word, _, _ := strings.Cut(strings.TrimRight(line, " \r\n"), " ")
	name, slash := strings.CutPrefix(word, "/")
	if !slash || name == "" || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) }) {
		return nil
	}
	return fault.Inputf("%s is no command; /reset forgets the conversation and /exit leaves. For the model to read the line, begin it with a space", word)
}

// next waits for a line; more is false at the end of the input.
func (c *chat) next(ctx context.Context) (line string, more bool, err error) {
	if c.term.Interactive {
		c.remark("> ")
	}
	for {
		select {
		case line, more = <-c.lines:
			if !more && c.term.Interactive {
				c.remark("\n")
			}
			return line, more, nil
		case <-c.term.Interrupts:
			c.remark("\n(nothing to stop; Ctrl-D or /exit leaves)\n> ")
		case <-ctx.Done():
			return "", false, ctx.Err()
		}
	}
}

// prompt encodes what the model is to continue after the person's line.
func (c *chat) prompt(line string) ([]int, []data.Message, error) {
	if c.enc.Template == nil {
		return c.tok.Encode(line, true), nil, nil
	}
	turns := append(slices.Clone(c.turns), data.Message{Role: "user", Content: line})
	text, err := c.enc.Template.Render(turns, true)
	if err != nil {
		return nil, nil, fault.Inputf("%w", err)
	}
	return c.tok.Encode(text, false), turns, nil
}

// answer streams the answer to a line. An interrupt ends it early; what has been said stays in the conversation.
func (c *chat) answer(ctx context.Context, m models.Model, line string) error {
	ids, turns, err := c.prompt(line)
	if err != nil {
		return err
	}
	if limit := m.Config().Context(); len(ids) >= limit {
		return fault.Inputf("the conversation has %d tokens and the model's context ends at %d; /reset begins anew", len(ids), limit)
	}
	turn, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-c.term.Interrupts:
			stop()
		case <-turn.Done():
		}
	}()
	v := &voice{chat: c, stream: c.tok.Stream(true), fail: stop}
	start := time.Now()
	_, err = models.Generate(turn, m, [][]int{ids}, models.GenOptions{MaxNewTokens: cmp.Or(c.o.MaxNewTokens, 512), Sampler: c.o.sampler(),
		Stop: c.enc.Stops, IgnoreEOS: true, Seed: tensor.Mix(c.o.Seed, uint64(c.answers)), BatchSize: 1,
		RepetitionPenalty: c.o.RepetitionPenalty, Ends: func([]int) bool { return v.cut },
		OnToken: func(_, id int, _ float32) { v.token(id) }})
	v.finish()
	if v.err != nil {
		return fmt.Errorf("standard output: %w", v.err)
	}
	interrupted := err != nil && ctx.Err() == nil && errors.Is(err, context.Canceled)
	if err != nil && !interrupted {
		return err
	}
	took := time.Since(start)
	c.answers, c.tokens, c.spent = c.answers+1, c.tokens+v.tokens, c.spent+took
	c.turns = turns
	if turns != nil {
		c.turns = append(turns, data.Message{Role: "assistant", Content: v.heard})
	}
	note := ""
	if interrupted {
		note = ", stopped"
	}
	c.remark("[%d tokens, %.1f tokens/s%s]\n", v.tokens, float64(v.tokens)/took.Seconds(), note)
	return nil
}

// voice writes an answer as it comes.
type voice struct {
	chat   *chat
	stream *tokenizer.Stream
	ids    []int  // that are text
	heard  string // their settled text
	said   int    // bytes of it that are written
	cut    bool   // heard ends before a stop text
	tokens int
	fail   func() // ends the generation
	err    error  // of writing
}

// token takes the next id; a stop id is counted and not said.
func (v *voice) token(id int) {
	v.tokens++
	if slices.Contains(v.chat.enc.Stops, id) {
		return
	}
	v.heard += v.stream.Push(id)
	v.ids = append(v.ids, id)
	shaping := &v.chat.o.Shaping
	if len(shaping.Stop) > 0 {
		if before, found := shaping.cut(v.chat.tok.Decode(v.ids, true)); found {
			v.heard, v.cut = before, true
		}
	}
	v.sayTo(len(v.heard) - shaping.held(v.heard))
}

// finish writes the rest of the answer and ends its line.
func (v *voice) finish() {
	if !v.cut {
		v.heard += v.stream.Flush()
	}
	v.sayTo(len(v.heard))
	v.say("\n")
}

// sayTo writes what has been heard up to byte n. What is held back can only grow shorter by a cut at its own beginning,
// so n never falls behind what is said.
func (v *voice) sayTo(n int) {
	if n > v.said {
		v.say(v.heard[v.said:n])
		v.said = n
	}
}

// say writes text; on a terminal, control characters are made visible.
func (v *voice) say(text string) {
	if v.chat.term.Interactive {
		text = data.Printable(text)
	}
	if _, err := io.WriteString(v.chat.term.Out, text); err != nil && v.err == nil {
		v.err = err
		v.fail()
	}
}
