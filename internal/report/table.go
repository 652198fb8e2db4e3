// Tables with aligned numbers; the best of a column stands out.

package report

import (
	"fmt"
	"math"
)

// Best says which value of a column is marked as the best.
type Best int

// The ways to mark a column.
const (
	NoBest Best = iota
	Highest
	Lowest
)

// Column heads a table column. Numeric columns align right.
type Column struct {
	Name    string
	Numeric bool
	Best    Best
}

// Cell is one field of a table. Make it with Text, Value or Estimated.
type Cell struct {
	Text   string
	Detail string  // smaller, behind the text: an interval, a unit
	Value  float64 // what Best compares; NaN takes no part
}

// Text returns a cell of text.
func Text(s string) Cell { return Cell{Text: s, Value: math.NaN()} }

// Value returns a numeric cell with the given digits after the point.
func Value(v float64, digits int) Cell { return Cell{Text: Number(v, digits), Value: v} }

// Estimated returns a numeric cell with its interval behind it.
func Estimated(v, low, high float64, digits int) Cell {
	c := Value(v, digits)
	c.Detail = fmt.Sprintf("[%s, %s]", Number(low, digits), Number(high, digits))
	return c
}

// Table is a table with a header row.
type Table struct {
	Title, Caption string
	Columns        []Column
	Rows           [][]Cell // as many cells as columns; missing ones stay empty
}

func (t Table) render(p *page) {
	p.tag("figure", "class", "table")
	p.heading(t.Title)
	p.tag("div", "class", "scroll")
	p.tag("table")
	p.tag("thead")
	p.tag("tr")
	for _, col := range t.Columns {
		p.leaf("th", col.Name, "class", col.class(), "scope", "col")
	}
	p.end()
	p.end()
	p.tag("tbody")
	for _, row := range t.Rows {
		t.row(p, row)
	}
	p.end()
	p.end()
	p.end()
	p.caption(t.Caption)
	p.end()
}

func (t Table) row(p *page, row []Cell) {
	p.tag("tr")
	for i, col := range t.Columns {
		cell := Text("")
		if i < len(row) {
			cell = row[i]
		}
		p.tag("td", "class", col.class())
		switch {
		case t.best(i, cell):
			p.leaf("span", cell.Text, "class", "best", "title", "best of this column")
		case i == 0:
			p.series(cell.Text)
		default:
			p.text(cell.Text)
		}
		if cell.Detail != "" {
			p.text(" ")
			p.leaf("span", cell.Detail, "class", "sub")
		}
		p.end()
	}
	p.end()
}

func (c Column) class() string {
	if c.Numeric {
		return "num"
	}
	return ""
}

// best reports whether no cell of column i beats this one; a column of one value has no best.
func (t Table) best(i int, cell Cell) bool {
	if t.Columns[i].Best == NoBest || math.IsNaN(cell.Value) {
		return false
	}
	beaten := false
	for _, row := range t.Rows {
		if i >= len(row) || math.IsNaN(row[i].Value) {
			continue
		}
		other := row[i].Value
		if t.Columns[i].Best == Lowest && other < cell.Value || t.Columns[i].Best == Highest && other > cell.Value {
			return false
		}
		beaten = beaten || other != cell.Value
	}
	return beaten
}
