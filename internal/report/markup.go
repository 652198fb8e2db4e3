// A writer of markup that cannot produce anything unescaped or unbalanced: tags are closed by the
// builder, text and attributes are escaped on the way in. It serves HTML and SVG alike.

package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// markup collects a document that is well-formed XML and valid HTML at once.
type markup struct {
	out  strings.Builder
	open []string // names of the elements not yet closed
}

// tag opens an element; attrs are name, value, name, value… A value of "" leaves the attribute out.
func (m *markup) tag(name string, attrs ...string) {
	m.start(name, attrs)
	m.out.WriteByte('>')
	m.open = append(m.open, name)
}

// end closes the innermost open element.
func (m *markup) end() {
	last := len(m.open) - 1
	m.out.WriteString("</" + m.open[last] + ">")
	m.open = m.open[:last]
}

// leaf writes an element with text and nothing else.
func (m *markup) leaf(name, text string, attrs ...string) {
	m.tag(name, attrs...)
	m.text(text)
	m.end()
}

// void writes an element without content: an SVG shape, or one of HTML's void elements.
func (m *markup) void(name string, attrs ...string) {
	m.start(name, attrs)
	m.out.WriteString("/>")
}

func (m *markup) start(name string, attrs []string) {
	m.out.WriteString("<" + name)
	for i := 0; i+1 < len(attrs); i += 2 {
		if attrs[i+1] != "" {
			m.out.WriteString(" " + attrs[i] + `="` + escape(attrs[i+1]) + `"`)
		}
	}
}

// text writes escaped text.
func (m *markup) text(s string) { m.out.WriteString(escape(s)) }

// rich writes text in which `code` and **strong** are marked.
func (m *markup) rich(s string) {
	for s != "" {
		mark, name := "`", "code"
		at := strings.Index(s, mark)
		if bold := strings.Index(s, "**"); bold >= 0 && (at < 0 || bold < at) {
			at, mark, name = bold, "**", "strong"
		}
		if at < 0 {
			break
		}
		length := strings.Index(s[at+len(mark):], mark)
		if length <= 0 {
			break
		}
		m.text(s[:at])
		m.leaf(name, s[at+len(mark):at+len(mark)+length])
		s = s[at+2*len(mark)+length:]
	}
	m.text(s)
}

// constant writes a trusted text, one of this package's style sheets, as it is.
func (m *markup) constant(s string) { m.out.WriteString(s) }

func (m *markup) String() string { return m.out.String() }

var entities = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

// escape makes any string, valid UTF-8 or not, safe as text and as attribute. Control characters, which
// no document may hold, become their visible pictures.
func escape(s string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < 0x20:
			return 0x2400 + r
		case r == 0x7f:
			return 0x2421
		case r == 0xfffe || r == 0xffff:
			return 0xfffd
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	return entities.Replace(clean)
}

// px prints a coordinate with one decimal, which is finer than any screen.
func px(v float64) string {
	if r := math.Round(v); math.Abs(v-r) < 0.05 {
		return strconv.FormatFloat(r+0, 'f', -1, 64) // +0 turns -0 into 0
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// class joins "s" and a colour's index, the class that the style sheet knows the colour by.
func class(prefix string, color int) string { return fmt.Sprint(prefix, color%len(lightColors)) }
