// Colours and the charts' style sheet. Charts carry plain colours, no variables, so that every SVG
// renderer draws them. Series differ in colour, marker shape and legend order; the colours keep a contrast
// of at least 3:1 to the page, light and dark. The first eight stay apart for colour-blind readers; those after them,
// for comparisons of many methods, are as far from all others as such colours can be, and want direct labels too.

package report

import (
	_ "embed"
	"fmt"
	"strings"
)

var (
	lightColors = []string{"#2563c9", "#d9590b", "#0b8a6b", "#8b3fc4", "#c2255c", "#7a6a00", "#0c85b0", "#5b6673", "#690f00", "#3c1e78",
		"#00a500", "#b478a5", "#004b69", "#ff00f0", "#004b00", "#9678ff", "#870069", "#0000d2", "#5a1eff", "#ff3c96"}
	darkColors = []string{"#6ea8fe", "#ff9d5c", "#45cfa5", "#c79bff", "#ff7aa8", "#d9c74f", "#5fcdf2", "#a9b4c0", "#b4784b", "#5a69ff",
		"#00c300", "#9669a5", "#008796", "#d200f0", "#5a8700", "#a5ffc3", "#f00096", "#ffe1ff", "#f01e00", "#00ff00"}
)

// theme is what a chart needs besides the series' colours.
type theme struct{ paper, ink, muted, grid, base string }

var (
	light = theme{paper: "#ffffff", ink: "#1c2128", muted: "#59636e", grid: "#e6e9ed", base: "#9aa4af"}
	dark  = theme{paper: "#161b22", ink: "#e9edf2", muted: "#9aa6b2", grid: "#2b323b", base: "#5d6874"}
)

//go:embed page.css
var pageStyle string

const fontStack = `Inter,ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif`

// chartStyle returns the style sheet of charts, for the page or for a file that stands alone.
func chartStyle(alone bool) string {
	var out strings.Builder
	fmt.Fprintf(&out, ".fig text{font:%gpx %s;font-variant-numeric:tabular-nums}", textSize, fontStack)
	out.WriteString(".fig .title{font-size:19px;font-weight:650;letter-spacing:-.01em}.fig .axis{font-weight:550}" +
		".fig path,.fig line{fill:none;stroke-linejoin:round;stroke-linecap:round}" +
		".fig .raw{opacity:.28}.fig .faint{opacity:.38}.fig .dots{opacity:.78}.fig .hit:hover{stroke-width:3}" +
		".fig .reference{stroke-dasharray:4 4;stroke-width:1.5}.fig .label{font-weight:550;paint-order:stroke;stroke-width:5px}")
	out.WriteString(themeRules(light, lightColors))
	out.WriteString("@media(prefers-color-scheme:dark){" + themeRules(dark, darkColors) + "}")
	if !alone {
		return strings.ReplaceAll(out.String(), ".fig ", "svg.fig ")
	}
	return out.String()
}

func themeRules(t theme, colors []string) string {
	var out strings.Builder
	fmt.Fprintf(&out, ".fig text{fill:%s}.fig .title,.fig .label,.fig .key,.fig .value{fill:%s}.fig .paper{fill:%s}", t.muted, t.ink, t.paper)
	fmt.Fprintf(&out, ".fig .grid{stroke:%s}.fig .base{stroke:%s}.fig .reference{stroke:%s}.fig .halo,.fig .label{stroke:%s}.fig .hit{stroke:%s;stroke-width:1}",
		t.grid, t.base, t.muted, t.paper, t.paper)
	for i, color := range colors {
		fmt.Fprintf(&out, ".fig .s%d{stroke:%s}.fig .f%d{fill:%s}.fig .b%d{fill:%s;opacity:.16}.d%d{background:%s}", i, color, i, color, i, color, i, color)
	}
	return out.String()
}
