// Showing a report and the tokens of an example: as text for a terminal, with or without colours, and as a
// web page that needs nothing from the network.
package data

import (
	"fmt"
	"html/template"
	"io"
	"strings"
	"unicode/utf8"
)

// The colours of a terminal: targets green, prompt grey.
const (
	ansiTarget = "\x1b[32m"
	ansiPrompt = "\x1b[90m"
	ansiReset  = "\x1b[0m"
)

// span is a run of tokens that are all targets or all not.
type span struct {
	Target bool
	Tokens []string
}

// spans decodes an example token by token. A token that is part of a character shows as its id.
//
// Some decoders strip the space that a text begins with, so the text of a token within the row is what a second one of
// it adds to the first.
func spans(tok Tokenizer, x Example) []span {
	var list []span
	for i, id := range x.IDs {
		if len(list) == 0 || list[len(list)-1].Target != x.Mask[i] {
			list = append(list, span{Target: x.Mask[i]})
		}
		text := tok.Decode([]int{id}, false)
		if i > 0 {
			text = strings.TrimPrefix(tok.Decode([]int{id, id}, false), text)
		}
		if text == "" || !utf8.ValidString(text) || strings.Contains(text, "\uFFFD") {
			text = fmt.Sprintf("⟨%d⟩", id)
		}
		last := &list[len(list)-1]
		last.Tokens = append(last.Tokens, text)
	}
	return list
}

// Colour returns the example's text for a terminal, its targets green and the rest grey; without colours the
// targets stand between «».
func Colour(tok Tokenizer, x Example, colours bool) string {
	var b strings.Builder
	for _, s := range spans(tok, x) {
		text := Printable(strings.Join(s.Tokens, ""))
		switch {
		case colours && s.Target:
			b.WriteString(ansiTarget + text + ansiReset)
		case colours:
			b.WriteString(ansiPrompt + text + ansiReset)
		case s.Target:
			b.WriteString("«" + text + "»")
		default:
			b.WriteString(text)
		}
	}
	return b.String()
}

// Printable makes control characters other than line ends and tabs visible, so that no data can steer the
// terminal.
func Printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f || (c >= 0x80 && c < 0xa0) {
			return '␦'
		}
		return c
	}, text)
}

// lines is the report as label and value, in order of importance.
func (r *CheckReport) lines() [][2]string {
	spreadLine := func(s Spread) string {
		return fmt.Sprintf("min %d, median %d, mean %.1f, p90 %d, p99 %d, max %d", s.Min, s.Median, s.Mean, s.P90, s.P99, s.Max)
	}
	list := [][2]string{
		{"data", r.Detected},
		{"tokens", fmt.Sprintf("%d, of which %d targets", r.Tokens, r.Targets)},
		{"sequence length", spreadLine(r.Sequence)},
		{"prompt length", spreadLine(r.Prompt)},
	}
	if r.Completion.Bins != nil {
		list = append(list, [2]string{"completion length", spreadLine(r.Completion)})
	}
	if r.MaxLength > 0 {
		text := fmt.Sprintf("%d rows; in %d the prompt alone fills it", r.Overlong, r.PromptOver)
		if r.Overlong > 0 {
			text += "; refused without another --overlong"
		}
		list = append(list, [2]string{"longer than " + fmt.Sprint(r.MaxLength), text})
	}
	counts := []struct {
		label string
		count int
		then  string // what training does about them
	}{
		{"unknown tokens", r.Unknown, ""}, {"empty completions", r.Empty, "refused without --empty drop or keep"},
		{"chosen equals rejected", r.Ties, "salsa dpo refuses them without --identical drop"}, {"without stop token", r.NoStop, ""},
		{"duplicate rows", r.Duplicates, ""}, {"repeated prompts", r.PromptTwice, ""},
		{"prompts leaked into evaluation", r.Leaks, ""}, {"unusable rows", r.Bad, ""},
	}
	if r.NoReply > 0 && r.NoReply < r.Rows { // beside rows that have one, it looks like a mistake
		list = append(list, [2]string{"without a completion", fmt.Sprintf("%d, the first %s; training on completions refuses them", r.NoReply, r.NoReplyAt)})
	}
	for _, c := range counts {
		text := fmt.Sprint(c.count)
		if c.count > 0 && c.then != "" {
			text += "; " + c.then
		}
		list = append(list, [2]string{c.label, text})
	}
	return list
}

// places lists where leaks and errors are.
func (r *CheckReport) places() []string {
	var list []string
	for _, at := range r.LeakAt {
		list = append(list, "leak: "+at)
	}
	for _, at := range r.BadAt {
		list = append(list, "error: "+at)
	}
	return list
}

// WriteText writes the report for a terminal.
func (r *CheckReport) WriteText(w io.Writer, colours bool) error {
	var b strings.Builder
	for _, line := range r.lines() {
		fmt.Fprintf(&b, "%-31s %s\n", line[0], line[1])
	}
	for _, place := range r.places() {
		fmt.Fprintln(&b, "  "+Printable(place))
	}
	if r.Shown != nil {
		fmt.Fprintf(&b, "\n%s, %d tokens, targets marked:\n%s\n", r.Shown.Row.At(), len(r.Shown.IDs), Colour(r.tok, *r.Shown, colours))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// page is the web page; html/template escapes what the data holds.
var page = template.Must(template.New("check").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Data check</title><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
td{padding:.1rem 1rem .1rem 0;vertical-align:top}td:first-child{color:#666}
svg{display:block;margin:.3rem 0 1rem}rect{fill:#5b8db8}
pre{white-space:pre-wrap;background:#f6f6f6;padding:1rem;line-height:1.9}
.p{color:#777}.t{background:#d7f0d7;color:#063}.k{border-right:1px solid #bbb}
</style></head><body><h1>Data check</h1>
<table>{{range .Lines}}<tr><td>{{index . 0}}</td><td>{{index . 1}}</td></tr>{{end}}</table>
{{if .Places}}<h2>Places</h2><ul>{{range .Places}}<li>{{.}}</li>{{end}}</ul>{{end}}
{{range .Plots}}<h2>{{.Title}}</h2><svg width="620" height="120" role="img" aria-label="{{.Title}}">{{range .Bars}}<rect x="{{.X}}" y="{{.Y}}" width="28" height="{{.H}}"><title>{{.Label}}</title></rect>{{end}}</svg>{{end}}
{{if .Spans}}<h2>One row: {{.At}}</h2><p>Green tokens are targets of the loss, grey ones are not.</p><pre>{{range .Spans}}{{$c := "p"}}{{if .Target}}{{$c = "t"}}{{end}}{{range .Tokens}}<span class="k {{$c}}">{{.}}</span>{{end}}{{end}}</pre>{{end}}
</body></html>
`))

// bar is one bar of a histogram, in pixels.
type bar struct {
	X, Y, H int
	Label   string
}

// plot is a histogram.
type plot struct {
	Title string
	Bars  []bar
}

// histogram draws the bins of a spread.
func histogram(title string, s Spread) plot {
	p := plot{Title: title}
	tallest := 1
	for _, b := range s.Bins {
		tallest = max(tallest, b.Count)
	}
	for i, b := range s.Bins {
		height := (b.Count*110 + tallest - 1) / tallest
		p.Bars = append(p.Bars, bar{X: i * 30, Y: 120 - height, H: height, Label: fmt.Sprintf("%d–%d tokens: %d", b.From, b.To, b.Count)})
	}
	return p
}

// WriteHTML writes the report as a self-contained page.
func (r *CheckReport) WriteHTML(w io.Writer) error {
	values := struct {
		Lines  [][2]string
		Places []string
		Plots  []plot
		At     string
		Spans  []span
	}{Lines: r.lines(), Places: r.places(), Plots: []plot{histogram("Sequence length", r.Sequence), histogram("Prompt length", r.Prompt)}}
	if r.Completion.Bins != nil {
		values.Plots = append(values.Plots, histogram("Completion length", r.Completion))
	}
	if r.Shown != nil {
		values.At, values.Spans = r.Shown.Row.At(), spans(r.tok, *r.Shown)
	}
	return page.Execute(w, values)
}
