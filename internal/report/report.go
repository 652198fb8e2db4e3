// Package report writes what a run or a comparison found as one HTML file that needs nothing else: style
// and pictures are inside, no script, no font, no network. A report is data (sections of blocks); how it
// looks is decided here alone.
package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// Report is a whole document.
type Report struct {
	Title    string
	Subtitle string
	Lead     []Block   // shown above the sections: tiles, the verdict
	Sections []Section // each gets an entry in the navigation bar
	Footer   string    // how the file was made; "" prints none
	Series   []string  // methods that keep one colour in all charts and samples, in this order
}

// Section is a titled part of a report.
type Section struct {
	Title  string
	Intro  string // a sentence or two under the title; `code` and **strong** are marked up
	Blocks []Block
}

// Block is one piece of a section: Paragraph, Table, LineChart, ScatterChart, BarCI, Samples, KeyValues,
// Note, Tiles, Code, Columns or Details.
type Block interface {
	render(p *page)
}

// page is a report being written.
type page struct {
	*markup
	report *Report
	narrow bool // inside Columns
}

// WriteHTML writes the report. Nothing in it can break out of its place: all text is escaped.
func (r *Report) WriteHTML(w io.Writer) error {
	p := &page{markup: &markup{}, report: r}
	p.constant("<!DOCTYPE html>\n")
	p.tag("html", "lang", "en")
	p.tag("head")
	p.void("meta", "charset", "utf-8")
	p.void("meta", "name", "viewport", "content", "width=device-width, initial-scale=1")
	p.leaf("title", r.Title)
	p.tag("style")
	p.constant(pageStyle + chartStyle(false))
	p.end()
	p.end()
	p.tag("body")
	p.body()
	p.end()
	p.end()
	if _, err := io.WriteString(w, p.String()+"\n"); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// WriteFile writes the report to path by way of a temporary file, so that a half-written report never
// replaces a good one.
func (r *Report) WriteFile(path string) (err error) {
	return writeFile(path, r.WriteHTML)
}

// WriteSVGFile writes one chart to path as WriteSVG does, atomically.
func WriteSVGFile(path string, chart Chart, series ...string) error {
	return writeFile(path, func(w io.Writer) error { return WriteSVG(w, chart, series...) })
}

func writeFile(path string, write func(io.Writer) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name()) // best effort: the first error is the one to report
		}
	}()
	err = write(tmp)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return fmt.Errorf("report: write %s: %w", path, err)
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func (p *page) body() {
	r := p.report
	p.tag("div", "class", "wrap")
	p.tag("header")
	p.leaf("p", "salsa report", "class", "eyebrow")
	p.leaf("h1", r.Title)
	if r.Subtitle != "" {
		p.tag("p", "class", "subtitle")
		p.rich(r.Subtitle)
		p.end()
	}
	p.end()
	p.blocks(r.Lead)
	p.end()
	if len(r.Sections) > 1 {
		p.navigation()
	}
	p.tag("main", "class", "wrap")
	for i, s := range r.Sections {
		p.section(i, s)
	}
	p.end()
	if r.Footer != "" {
		p.tag("footer", "class", "wrap")
		p.rich(r.Footer)
		p.end()
	}
}

func (p *page) navigation() {
	p.tag("nav", "aria-label", "Sections")
	p.tag("ul", "class", "wrap")
	for i, s := range p.report.Sections {
		p.tag("li")
		p.leaf("a", s.Title, "href", "#"+anchor(i))
		p.end()
	}
	p.end()
	p.end()
}

func (p *page) section(i int, s Section) {
	p.tag("section", "id", anchor(i))
	p.leaf("h2", s.Title)
	if s.Intro != "" {
		p.tag("p", "class", "intro")
		p.rich(s.Intro)
		p.end()
	}
	p.blocks(s.Blocks)
	p.end()
}

func anchor(section int) string { return "s" + strconv.Itoa(section+1) }

func (p *page) blocks(blocks []Block) {
	for _, b := range blocks {
		b.render(p)
	}
}

// heading writes a block's title, if it has one.
func (p *page) heading(title string) {
	if title != "" {
		p.leaf("h3", title)
	}
}

// caption writes a figure's caption, if it has one.
func (p *page) caption(text string) {
	if text != "" {
		p.tag("figcaption")
		p.rich(text)
		p.end()
	}
}
