// Blocks of text: paragraphs, verdicts, key figures, settings, listings, and blocks that hold others.

package report

import "slices"

// Paragraph is running text; `code` and **strong** are marked up.
type Paragraph string

func (t Paragraph) render(p *page) {
	p.tag("p")
	p.rich(string(t))
	p.end()
}

// Verdict colours a Note.
type Verdict string

// The verdicts of a Note.
const (
	Info  Verdict = "info"  // neutral
	Good  Verdict = "good"  // the claim holds
	Mixed Verdict = "mixed" // it holds in part, or the interval includes no difference
	Bad   Verdict = "bad"   // it does not hold
)

// symbols stand beside the colour, for readers who do not see it.
var symbols = map[Verdict]string{Info: "ℹ", Good: "✓", Mixed: "≈", Bad: "✗"}

// Note is a callout: the honest summary of what the numbers show.
type Note struct {
	Verdict Verdict // "" is Info
	Title   string
	Text    []string // paragraphs
}

func (n Note) render(p *page) {
	if n.Verdict == "" {
		n.Verdict = Info
	}
	p.tag("div", "class", "note "+string(n.Verdict), "role", "note")
	p.heading(symbols[n.Verdict] + "\u2002" + n.Title)
	for _, text := range n.Text {
		Paragraph(text).render(p)
	}
	p.end()
}

// Tile is a key figure.
type Tile struct {
	Name   string // "Win rate against PPO"
	Value  string // "61.4 %"
	Detail string // "95 % interval 56.0 to 66.5, 400 prompts"
}

// Tiles is a row of key figures.
type Tiles []Tile

func (t Tiles) render(p *page) {
	p.tag("div", "class", "tiles")
	for _, tile := range t {
		p.tag("div", "class", "tile")
		p.leaf("div", tile.Name, "class", "name")
		p.leaf("div", tile.Value, "class", "big")
		p.leaf("div", tile.Detail, "class", "detail")
		p.end()
	}
	p.end()
}

// KeyValue is one setting and its value.
type KeyValue struct{ Key, Value string }

// KeyValues lists what was run: models, data, settings, hashes.
type KeyValues struct {
	Title string
	Items []KeyValue
}

func (k KeyValues) render(p *page) {
	p.tag("div", "class", "card")
	p.heading(k.Title)
	p.tag("dl")
	for _, item := range k.Items {
		p.leaf("dt", item.Key)
		p.tag("dd")
		p.rich(item.Value)
		p.end()
	}
	p.end()
	p.end()
}

// Code is a listing: a command, a configuration.
type Code struct{ Title, Text string }

func (c Code) render(p *page) {
	p.tag("div", "class", "card")
	p.heading(c.Title)
	p.leaf("pre", c.Text)
	p.end()
}

// Columns puts blocks side by side where the screen is wide enough, two in a row.
type Columns []Block

func (c Columns) render(p *page) {
	p.tag("div", "class", "grid2")
	outer := p.narrow
	p.narrow = true
	p.blocks(c)
	p.narrow = outer
	p.end()
}

// Details hides blocks behind a line that opens them.
type Details struct {
	Summary string
	Blocks  []Block
}

func (d Details) render(p *page) {
	p.tag("details")
	p.leaf("summary", d.Summary)
	p.blocks(d.Blocks)
	p.end()
}

// series writes a method's name, with a dot in its colour if it keeps one.
func (p *page) series(name string) {
	at := slices.Index(p.report.Series, name)
	if at < 0 {
		p.text(name)
		return
	}
	p.tag("span", "class", "series")
	p.leaf("span", "", "class", "dot "+class("d", at))
	p.text(name)
	p.end()
}
