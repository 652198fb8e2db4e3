// The line that a person reads while a run goes on: few numbers, in columns that stay in place.

package metrics

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// Column chooses a metric for the console line.
type Column struct{ Key, Label string }

// Columns is the order in which the console shows what a row holds of it, most telling first.
var Columns = []Column{
	{"loss", "loss"},
	{"objective/scores", "score"},
	{"reward", "reward"},
	{"objective/kl", "kl"},
	{"policy/entropy_avg", "entropy"},
	{"policy/clipfrac_avg", "clip"},
	{"loss/value_avg", "value loss"},
	{"rewards/accuracies", "acc"},
	{"rewards/margins", "margin"},
	{"accuracy", "acc"},
	{"margin", "margin"},
	{"mean_token_accuracy", "token acc"},
	{"completions/mean_length", "length"},
	{"eval_loss", "held-out loss"},
	{"eval_perplexity", "held-out perplexity"},
	{"eval_rewards/accuracies", "held-out acc"},
	{"eval_rewards/margins", "held-out margin"},
	{"eval_accuracy", "held-out acc"},
	{"eval_margin", "held-out margin"},
	{"grad_norm", "grad"},
	{"lr", "lr"},
	{"learning_rate", "lr"},
}

// Console prints a short line per logged step, and each hint of a Watch below the line that caused it.
type Console struct {
	mu    sync.Mutex
	w     io.Writer
	opt   ConsoleOptions
	watch Watch
	trail []float64 // latest values of the first column, for the sparkline
}

// ConsoleOptions shape the console line.
type ConsoleOptions struct {
	Total   int      // steps of the whole run; 0 when not known
	Every   int      // print every so many steps, the first and the last always; 0 is 1
	Columns []Column // nil is the package's Columns
	Rich    bool     // terminal: dimmed labels and a sparkline of the first column
	Width   int      // terminal columns; 0 is no limit
}

// sparkWidth is how many values the sparkline shows.
const sparkWidth = 20

// NewConsole prints to w.
func NewConsole(w io.Writer, opt ConsoleOptions) *Console {
	opt.Every = max(opt.Every, 1)
	if opt.Columns == nil {
		opt.Columns = Columns
	}
	return &Console{w: w, opt: opt}
}

// Terminal reports whether f is a terminal that takes control sequences and knows its size, and its width.
func Terminal(f *os.File) (rich bool, width int) {
	if !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return false, 0
	}
	width, height, err := term.GetSize(int(f.Fd()))
	return err == nil && width > 0 && height > 0, width
}

// Log implements Logger.
func (c *Console) Log(step int, scalars map[string]float64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	hints := c.watch.Check(step, scalars)
	for _, col := range c.opt.Columns {
		if v, ok := scalars[col.Key]; ok {
			c.trail = append(c.trail, v)
			c.trail = c.trail[max(0, len(c.trail)-sparkWidth):]
			break
		}
	}
	var out strings.Builder
	if len(hints) > 0 || step%c.opt.Every == 0 || step == 1 || step == c.opt.Total {
		out.WriteString(c.line(step, scalars))
	}
	for _, h := range hints {
		fmt.Fprintf(&out, "  hint: %s\n", h)
	}
	if _, err := io.WriteString(c.w, out.String()); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	return nil
}

// Hints returns all hints given so far.
func (c *Console) Hints() []Hint {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watch.Hints()
}

// line lays the row out; columns that do not fit the terminal's width are left out from the right.
func (c *Console) line(step int, scalars map[string]float64) string {
	digits := max(4, len(strconv.Itoa(c.opt.Total)))
	out := fmt.Sprintf("step %*d", digits, step)
	if c.opt.Total > 0 {
		out += fmt.Sprintf("/%d", c.opt.Total)
	}
	used := utf8.RuneCountInString(out)
	cell := func(text, styled string) bool {
		n := utf8.RuneCountInString(text) + 2
		if c.opt.Width > 0 && used+n > c.opt.Width {
			return false
		}
		used += n
		out += "  " + styled
		return true
	}
	first := true
	for _, col := range c.opt.Columns {
		v, ok := scalars[col.Key]
		if !ok {
			continue
		}
		number := fmt.Sprintf("%-8s", short(v))
		text := col.Label + " " + number
		if !cell(text, c.dim(col.Label)+" "+number) {
			break
		}
		if first && c.opt.Rich {
			spark := fmt.Sprintf("%-*s", sparkWidth, Sparkline(c.trail))
			cell(spark, spark)
		}
		first = false
	}
	return strings.TrimRight(out, " ") + "\n"
}

func (c *Console) dim(s string) string {
	if !c.opt.Rich || os.Getenv("NO_COLOR") != "" {
		return s
	}
	return "\x1b[2m" + s + "\x1b[0m"
}

// short prints a value in at most eight characters.
func short(v float64) string {
	switch size := math.Abs(v); {
	case v == 0, math.IsNaN(v), math.IsInf(v, 0):
		return strconv.FormatFloat(v, 'g', -1, 64)
	case size < 1e-12: // a sum that is nothing but rounding
		return "0"
	case size < 1e-3, size >= 1e5:
		return strconv.FormatFloat(v, 'e', 1, 64)
	case size < 10:
		return strconv.FormatFloat(v, 'f', 4, 64)
	default:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
}

// Sparkline draws values as a row of blocks from the lowest to the highest; values that are not finite
// leave a gap.
func Sparkline(values []float64) string {
	const blocks = "▁▂▃▄▅▆▇█"
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if nonFinite(v) == "" {
			low, high = min(low, v), max(high, v)
		}
	}
	levels := []rune(blocks)
	out := make([]rune, len(values))
	for i, v := range values {
		switch {
		case nonFinite(v) != "":
			out[i] = ' '
		case high == low:
			out[i] = levels[0]
		default:
			out[i] = levels[int(math.Round((v-low)/(high-low)*float64(len(levels)-1)))]
		}
	}
	return string(out)
}
