package cli

import "github.com/raybuild/raybuild/internal/show"

// picture is the layout of a graph for SVG. Each distance from the sources has its own column.
type picture struct {
	Width, Height int
	Boxes         []box
	Lines         []line
}

type box struct {
	X, Y, Width, Height int
	Kind, Label, Layer  string
	Title               string
}

type line struct{ X1, Y1, MX, X2, Y2 int }

// draw places every step to the right of its inputs.
func draw(steps []graphStep) picture {
	const (
		width, height = 230, 40
		gapX, gapY    = 70, 14
		margin        = 16
	)
	column := map[string]int{}
	used := map[int]int{} // boxes in a column
	at := map[string]box{}
	var p picture
	for _, s := range steps {
		c := 0
		for _, in := range s.Inputs {
			c = max(c, column[in]+1)
		}
		column[s.ID] = c
		b := box{
			X: margin + c*(width+gapX), Y: margin + used[c]*(height+gapY), Width: width, Height: height,
			Kind: s.Kind, Label: show.OneLine(s.label(), 34), Layer: s.Layer, Title: s.label(),
		}
		used[c]++
		at[s.ID] = b
		p.Boxes = append(p.Boxes, b)
		p.Width, p.Height = max(p.Width, b.X+width+margin), max(p.Height, b.Y+height+margin)
		for _, in := range s.Inputs {
			from := at[in]
			l := line{X1: from.X + width, Y1: from.Y + height/2, X2: b.X, Y2: b.Y + height/2}
			l.MX = (l.X1 + l.X2) / 2
			p.Lines = append(p.Lines, l)
		}
	}
	return p
}
