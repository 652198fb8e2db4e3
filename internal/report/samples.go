// Completions side by side: a column per method, a row per prompt, the score below.

package report

import (
	"math"
	"strconv"
)

// Sample is one method's answer to a prompt.
type Sample struct {
	Text  string
	Score float64 // NaN when there is none
	Note  string  // behind the score: "128 tokens, no stop token"
}

// SampleRow is a prompt with one answer per method.
type SampleRow struct {
	Prompt  string
	Answers []Sample // in the order of Samples.Methods
}

// Samples shows answers side by side; the highest score of a row is outlined.
type Samples struct {
	Title, Caption string
	Methods        []string
	ScoreName      string // what scores are called below an answer; "" is "score"
	Rows           []SampleRow
}

// folded is the length, in runes, from which the rest of an answer hides behind a click.
const folded = 900

func (s Samples) render(p *page) {
	p.tag("figure", "class", "samples")
	p.heading(s.Title)
	for i, row := range s.Rows {
		p.tag("div", "class", "sample")
		p.tag("p", "class", "prompt")
		p.leaf("span", strconv.Itoa(i+1), "class", "tag")
		p.text(row.Prompt)
		p.end()
		p.tag("div", "class", "cells")
		best := row.best()
		for k, answer := range row.Answers {
			name := ""
			if k < len(s.Methods) {
				name = s.Methods[k]
			}
			p.answer(name, s.ScoreName, answer, k == best)
		}
		p.end()
		p.end()
	}
	p.caption(s.Caption)
	p.end()
}

// best is the index of the highest score, or -1 when it is shared or alone.
func (r SampleRow) best() int {
	at, count, top := -1, 0, math.Inf(-1)
	for i, a := range r.Answers {
		switch {
		case math.IsNaN(a.Score):
			continue
		case a.Score > top:
			at, top = i, a.Score
		case a.Score == top:
			at = -1
		}
		count++
	}
	if count < 2 {
		return -1
	}
	return at
}

func (p *page) answer(method, scoreName string, a Sample, best bool) {
	cls := "cell"
	if best {
		cls += " top"
	}
	p.tag("div", "class", cls)
	p.tag("div", "class", "who")
	p.series(method)
	p.end()
	p.tag("div", "class", "said")
	if runes := []rune(a.Text); len(runes) > folded {
		p.text(string(runes[:folded]))
		p.tag("details")
		p.leaf("summary", "… "+strconv.Itoa(len(runes)-folded)+" more characters")
		p.text(string(runes[folded:]))
		p.end()
	} else {
		p.text(a.Text)
	}
	p.end()
	p.score(scoreName, a, best)
	p.end()
}

func (p *page) score(name string, a Sample, best bool) {
	if math.IsNaN(a.Score) && a.Note == "" {
		return
	}
	p.tag("div", "class", "score")
	if !math.IsNaN(a.Score) {
		if name == "" {
			name = "score"
		}
		p.text(name + " ")
		if best {
			p.leaf("span", Number(a.Score, 2), "class", "best", "title", "best of this row")
		} else {
			p.text(Number(a.Score, 2))
		}
		if a.Note != "" {
			p.text(" · ")
		}
	}
	p.text(a.Note)
	p.end()
}
