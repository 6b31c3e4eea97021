package moves

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/cmd/dunlin/text"
)

// PrintPlan writes what a change moves.
func PrintPlan(out io.Writer, p admin.LayoutPlan) error {
	fmt.Fprintf(out, "%s: %s change replicas, about %s are copied\n", p.Kind, text.Count(p.Ranges, "range", "ranges"), text.Bytes(p.BytesEstimate))
	var rows [][]string
	for _, n := range p.Nodes {
		note := ""
		switch {
		case n.New:
			note = "joins"
		case n.Leaves:
			note = "leaves"
		}
		rows = append(rows, []string{
			text.Short(n.ID), n.Zone, strconv.Itoa(n.ReplicasBefore), strconv.Itoa(n.ReplicasAfter),
			signed("+", n.Gains), signed("-", n.Loses), text.Bytes(n.BytesIn), note,
		})
	}
	if len(rows) > 0 {
		fmt.Fprintln(out)
		if err := text.Table(out, []string{"NODE", "ZONE", "REPLICAS", "THEN", "GAINS", "LOSES", "COPIES IN", ""}, rows); err != nil {
			return err
		}
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(out, "WARNING: %s\n", w)
	}
	return nil
}

// signed writes a number that is not 0 with its sign.
func signed(sign string, n int) string {
	if n == 0 {
		return "0"
	}
	return sign + strconv.Itoa(n)
}

// PrintProgress writes all that is known of the change on its way; nil is none.
func PrintProgress(out io.Writer, p *admin.ChangeProgress) error {
	if p == nil {
		_, err := fmt.Fprintln(out, "no change of the layout is on its way")
		return err
	}
	fmt.Fprintln(out, Line(p))
	fmt.Fprintf(out, "%s of %d complete; since %s", text.Count(p.Done, "replica", "replicas"), p.Ranges, text.Time(&p.Since))
	if p.Driver != "" {
		fmt.Fprintf(out, "; driven by %s", text.Short(p.Driver))
	}
	fmt.Fprintln(out)
	if p.Phase == "flipped" {
		fmt.Fprintln(out, "reads ask the new replicas already: it cannot be aborted any more")
	}
	for _, w := range p.Waiting {
		fmt.Fprintf(out, "WAITING: %s\n", w)
	}
	if len(p.Nodes) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	var rows [][]string
	for _, n := range p.Nodes {
		rows = append(rows, []string{text.Short(n.ID), n.State, strconv.Itoa(n.Ranges), strconv.Itoa(n.Done), text.Bytes(n.BytesDone)})
	}
	return text.Table(out, []string{"NODE", "STATE", "TO FILL", "COMPLETE", "COPIED"}, rows)
}

// PrintReplacing says so if the next node that joins takes the ranges of a dead one.
func PrintReplacing(out io.Writer, s admin.Status) {
	m := Member(s.Members, s.Replacing)
	if m == nil {
		return
	}
	fmt.Fprintf(out, "node %s is to be replaced: the next node that joins, in zone %s of datacenter %s, takes its ranges (take it back: dunlin layout abort)\n",
		text.Short(m.ID), m.Zone, m.Datacenter)
	if m.Alive {
		fmt.Fprintf(out, "WARNING: node %s is alive: no node can take its ranges: stop it, or take that back\n", text.Short(m.ID))
	}
}

// Line sums a change up in one line.
func Line(p *admin.ChangeProgress) string {
	return fmt.Sprintf("%s (change %d), %s: %s", p.Kind, p.ID, p.Phase, strings.Join(facts(p), ", "))
}

// facts are what is known of how far a change is, and how fast.
func facts(p *admin.ChangeProgress) []string {
	all := []string{strconv.Itoa(percent(p)) + "%"}
	if total := max(p.BytesTotal, p.BytesDone); total > 0 {
		all = append(all, fmt.Sprintf("%s of about %s", text.Bytes(p.BytesDone), text.Bytes(total)))
	} else if p.Ranges > 0 {
		all = append(all, fmt.Sprintf("%d of %d replicas", p.Done, p.Ranges))
	}
	if p.RowsDone > 0 {
		all = append(all, fmt.Sprintf("%d rows", p.RowsDone))
	}
	if p.BytesPerSecond > 0 {
		all = append(all, text.Bytes(uint64(p.BytesPerSecond))+"/s")
	}
	if p.RemainingSeconds > 0 {
		all = append(all, text.Seconds(p.RemainingSeconds)+" left")
	}
	return all
}

// percent is how much of a change is done: its share of the replicas, or of the bytes,
// which are an estimate, if that is more. Only what is complete is 100.
func percent(p *admin.ChangeProgress) int {
	if p.Phase == "flipped" {
		return 100
	}
	share := 0.0
	if p.BytesTotal > 0 {
		share = min(float64(p.BytesDone)/float64(p.BytesTotal), 1)
	}
	if p.Ranges > 0 {
		share = max(share, float64(p.Done)/float64(p.Ranges))
	}
	if p.Done < p.Ranges {
		share = min(share, 0.99)
	}
	return int(share * 100)
}

const (
	barMin = 10
	barMax = 40
)

// Bar is Line with a bar, for a terminal that is so wide.
func Bar(p *admin.ChangeProgress, width int) string {
	head, tail := p.Kind+" "+p.Phase, strings.Join(facts(p), "  ")
	room := min(width-utf8.RuneCountInString(head)-utf8.RuneCountInString(tail)-5, barMax)
	if room < barMin {
		line := []rune(head + "  " + tail)
		return string(line[:min(len(line), max(width-1, 0))])
	}
	full := room * percent(p) / 100
	return head + " [" + strings.Repeat("█", full) + strings.Repeat("░", room-full) + "] " + tail
}

// Show is told how far a change is, again and again, and at last nil.
type Show func(*admin.ChangeProgress)

// step is how many per cent a change goes on before Lines writes of it again.
const step = 5

// Lines writes a line whenever there is something to tell: for logs and pipes.
func Lines(out io.Writer) Show {
	var last *admin.ChangeProgress
	var waiting []string
	return func(p *admin.ChangeProgress) {
		if p == nil {
			return
		}
		if last == nil || last.ID != p.ID || last.Phase != p.Phase || percent(p) >= percent(last)+step {
			fmt.Fprintln(out, Line(p))
			last = p
		}
		if !slices.EqualFunc(waiting, p.Waiting, same) {
			printWaiting(out, p)
			waiting = p.Waiting
		}
	}
}

// same reports whether two sentences differ at most in numbers, which go on by
// themselves and need not be told each time.
func same(a, b string) bool {
	words := func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}
	return strings.Map(words, a) == strings.Map(words, b)
}

func printWaiting(out io.Writer, p *admin.ChangeProgress) {
	for _, w := range p.Waiting {
		fmt.Fprintf(out, "WAITING: %s\n", w)
	}
}

// clear takes the cursor back to the line's start and empties it.
const clear = "\r\x1b[K"

// Bars draws a bar on a terminal, over and over in the same line; who holds the
// change up is told above it.
func Bars(out io.Writer, width func() int) Show {
	var waiting []string
	return func(p *admin.ChangeProgress) {
		fmt.Fprint(out, clear)
		if p == nil {
			return
		}
		if !slices.EqualFunc(waiting, p.Waiting, same) {
			printWaiting(out, p)
			waiting = p.Waiting
		}
		fmt.Fprint(out, Bar(p, width()))
	}
}
