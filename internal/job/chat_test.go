package job_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"salsa/internal/fault"
	"salsa/internal/job"
	"salsa/models"
	"salsa/tensor"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// turnTemplate marks who speaks, as plain text.
const turnTemplate = `{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}a:`

// talker is a random model of the demo's shape; with a template it converses.
func talker(t *testing.T, template string) string {
	t.Helper()
	config := demoFolder(t)
	dir := t.TempDir()
	require.NoError(t, tensor.Run(func() error {
		cfg, err := models.ReadConfig(config)
		if err != nil {
			return err
		}
		m, err := models.New(cfg, 5, models.Options{Device: tensor.CPU})
		if err != nil {
			return err
		}
		return models.Save(dir, m, models.SaveOptions{Tokenizer: config})
	}))
	if template != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o644))
	}
	return dir
}

func chatOptions(dir string) *job.ChatOptions {
	o := job.DefaultChat()
	o.Model, o.Device, o.MaxNewTokens, o.Temperature = dir, "cpu", 4, 0
	return &o
}

// say runs a chat over a pipe and returns its answers, one a line.
func say(t *testing.T, o *job.ChatOptions, input string) (answers []string, scalars map[string]float64, remarks string) {
	t.Helper()
	var out, errs bytes.Buffer
	scalars, err := job.Chat(context.Background(), o, job.Terminal{In: strings.NewReader(input), Out: &out, Err: &errs})
	require.NoError(t, err)
	return strings.SplitAfter(strings.TrimSuffix(out.String(), "\n"), "\n"), scalars, errs.String()
}

// TestChatCompletes: without a template each line is a prompt of its own.
func TestChatCompletes(t *testing.T) {
	o := chatOptions(talker(t, ""))
	once, _, _ := say(t, o, "hot salsa:\n")
	twice, scalars, remarks := say(t, o, "hot salsa:\n\n/reset\nhot salsa:")
	require.Len(t, twice, 2)
	assert.Equal(t, once[0], strings.TrimSuffix(twice[0], "\n"))
	assert.Equal(t, once[0], twice[1])
	assert.Equal(t, 2.0, scalars["answers"])
	assert.Positive(t, scalars["tokens_per_s"])
	assert.Regexp(t, `^\[\d tokens, [0-9.]+ tokens/s\]\n\[`, remarks, "rates, but no marks through a pipe")
	o.Quiet = true
	_, _, remarks = say(t, o, "hot salsa:\n")
	assert.Empty(t, remarks)
	three, _, _ := say(t, o, "hot salsa:\n/exit\nmild salsa:\n")
	assert.Len(t, three, 1, "nothing is answered after /exit")
}

// TestChatConverses: with a template earlier turns are part of the prompt until /reset.
func TestChatConverses(t *testing.T) {
	o := chatOptions(talker(t, turnTemplate))
	first, _, _ := say(t, o, "hot\n")
	got, _, _ := say(t, o, "hot\nhot\n/reset\nhot\n")
	require.Len(t, got, 3)
	assert.Equal(t, got[0], got[2]+"\n", "after /reset nothing is remembered")
	assert.Equal(t, first[0], got[2])
	assert.NotEqual(t, got[0], got[1], "the second turn sees the first")
	o.System = "be brief"
	system, _, _ := say(t, o, "hot\n/reset\nhot\n")
	assert.NotEqual(t, first[0], system[1])
	assert.Equal(t, system[0], system[1]+"\n", "/reset keeps the system message")
}

// TestChatContext: a conversation that outgrows the context ends a pipe and is forgiven in a terminal.
func TestChatContext(t *testing.T) {
	o := chatOptions(talker(t, turnTemplate))
	long := strings.Repeat(" chili", 80)
	term := job.Terminal{In: strings.NewReader(long + "\nhot\n"), Out: io.Discard, Err: io.Discard}
	_, err := job.Chat(context.Background(), o, term)
	assert.ErrorContains(t, err, "the model's context ends at 64; /reset begins anew")
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	var errs bytes.Buffer
	term = job.Terminal{In: strings.NewReader(long + "\nhot\n"), Out: io.Discard, Err: &errs, Interactive: true}
	scalars, err := job.Chat(context.Background(), o, term)
	require.NoError(t, err)
	assert.Equal(t, 1.0, scalars["answers"])
	assert.Contains(t, errs.String(), "has a chat template")
	assert.Contains(t, errs.String(), "/reset begins anew")
	assert.Equal(t, 3, strings.Count(errs.String(), "> "), "a mark for each line and the end")
}

// onWrite calls do once when something is written.
type onWrite struct {
	io.Writer
	do func() error
}

func (w *onWrite) Write(p []byte) (int, error) {
	if w.do != nil {
		do := w.do
		w.do = nil
		if err := do(); err != nil {
			return 0, err
		}
	}
	return w.Writer.Write(p)
}

// TestChatInterrupt: an interrupt stops the answer under way and the next line is answered.
func TestChatInterrupt(t *testing.T) {
	o := chatOptions(talker(t, ""))
	o.MaxNewTokens = 50
	interrupts := make(chan os.Signal)
	var out, errs bytes.Buffer
	term := job.Terminal{In: strings.NewReader("hot salsa:\nmild salsa:\n"), Err: &errs, Interactive: true, Interrupts: interrupts,
		Out: &onWrite{&out, func() error {
			interrupts <- os.Interrupt
			time.Sleep(50 * time.Millisecond) // the answer is stopped by another goroutine, and 50 tokens take a millisecond
			return nil
		}}}
	scalars, err := job.Chat(context.Background(), o, term)
	require.NoError(t, err)
	assert.Equal(t, 2.0, scalars["answers"])
	assert.Equal(t, 1, strings.Count(errs.String(), ", stopped]"), errs.String())
}

// TestChatEnds: cancelling ends the chat at once, and so does an output that nobody reads.
func TestChatEnds(t *testing.T) {
	o := chatOptions(talker(t, ""))
	ctx, cancel := context.WithCancel(context.Background())
	term := job.Terminal{In: strings.NewReader("hot\nmild\n"), Err: io.Discard, Out: &onWrite{io.Discard, func() error { cancel(); return nil }}}
	scalars, err := job.Chat(ctx, o, term)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, fault.ExitInterrupted, fault.ExitCode(err))
	assert.Zero(t, scalars["answers"])

	closed := errors.New("nobody reads")
	term = job.Terminal{In: strings.NewReader("hot\nmild\n"), Err: io.Discard, Out: &onWrite{io.Discard, func() error { return closed }}}
	_, err = job.Chat(context.Background(), o, term)
	assert.ErrorIs(t, err, closed)
}

func TestChatRefuses(t *testing.T) {
	o := chatOptions(talker(t, ""))
	o.System = "be brief"
	for _, c := range []struct {
		o    *job.ChatOptions
		want string
	}{
		{o, "has no chat template, so --system has no place"},
		{chatOptions(testdata + "llama-gqa"), "holds no tokenizer"},
		{chatOptions(demoFolder(t)), "model.safetensors"},
		{chatOptions("nowhere"), "nowhere"},
	} {
		_, err := job.Chat(context.Background(), c.o, job.Terminal{In: strings.NewReader("x\n"), Out: io.Discard, Err: io.Discard})
		assert.ErrorContains(t, err, c.want)
		assert.Equal(t, fault.ExitInput, fault.ExitCode(err), c.want)
	}
}

// A line that looks like a command and is none is not put to the model.
func TestChatUnknownCommand(t *testing.T) {
	o := chatOptions(talker(t, ""))
	_, err := job.Chat(context.Background(), o, job.Terminal{In: strings.NewReader("/help me\n"), Out: io.Discard, Err: io.Discard})
	require.ErrorContains(t, err, "/help is no command; /reset forgets the conversation and /exit leaves")
	assert.Equal(t, fault.ExitInput, fault.ExitCode(err))
	var errs bytes.Buffer
	scalars, err := job.Chat(context.Background(), o, job.Terminal{In: strings.NewReader("/reser\nhot\n /help\n/usr/bin\n/exit\nhot\n"), Out: io.Discard, Err: &errs, Interactive: true})
	require.NoError(t, err)
	assert.Contains(t, errs.String(), "/reser is no command")
	assert.Equal(t, 3.0, scalars["answers"], "a space before it, or a path, is for the model")
}
