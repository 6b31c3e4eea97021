package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/cmd/dunlin/text"
)

func newHintsCommand() *cobra.Command {
	cmd := showAnswer(&cobra.Command{
		Use:   "hints",
		Short: "Show what a node keeps for others that missed writes",
		Long: `Show what one node keeps for others that missed writes. It is replayed by itself
when they are back. Counted hints made an acknowledgement true (w=any, sloppy) and
are never dropped; plain ones are bounded by age and bytes, and what is dropped is
carried by anti-entropy.`,
		Example: "  dunlin hints\n  dunlin hints --admin http://127.0.0.2:7483 -o json\n  dunlin hints drain --wait",
	}, (*client.Admin).Hints, printHints)
	cmd.AddCommand(newDrainCommand())
	return cmd
}

func newDrainCommand() *cobra.Command {
	var port adminFlag
	var wait bool
	cmd := &cobra.Command{
		Use:     "drain",
		Short:   "Replay at once what a node keeps, as far as its targets are alive",
		Example: "  dunlin hints drain\n  dunlin hints drain --wait   # until nothing is kept any more",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := port.client()
			if err != nil {
				return &usageError{err}
			}
			raw, err := c.ReplayHints(cmd.Context())
			if err != nil {
				return fmt.Errorf("hints drain: %w", err)
			}
			return drainHints(cmd.Context(), cmd.OutOrStdout(), c, raw, wait)
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "return when nothing is kept any more")
	port.add(cmd)
	return cmd
}

// drainEvery is how often a node is asked what it still keeps.
const drainEvery = time.Second

// drainHints says what is kept, and with wait goes on until nothing is.
func drainHints(ctx context.Context, out io.Writer, c *client.Admin, raw json.RawMessage, wait bool) error {
	for last := int64(-1); ; {
		var h admin.Hints
		if err := json.Unmarshal(raw, &h); err != nil {
			return fmt.Errorf("hints drain: read the answer: %w", err)
		}
		hints, damaged, bytes := int64(0), int64(0), int64(0)
		for _, t := range h.Targets {
			hints, bytes = hints+t.Plain.Hints+t.Counted.Hints, bytes+t.Plain.Bytes+t.Counted.Bytes
			damaged += t.Plain.DamagedHints + t.Counted.DamagedHints
		}
		if hints != last {
			fmt.Fprintf(out, "%d hints left, %s\n", hints, text.Bytes(uint64(bytes)))
			last = hints
		}
		if hints == 0 || !wait {
			return nil
		}
		if hints == damaged {
			return fmt.Errorf("hints drain: the %d hints that are left are damaged and cannot be replayed; "+
				"what they acknowledged is lost unless other replicas have it", damaged)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("hints drain: %w; %d hints are left", ctx.Err(), hints)
		case <-time.After(drainEvery):
		}
		var err error
		if raw, err = c.Hints(ctx); err != nil {
			return fmt.Errorf("hints drain: %w", err)
		}
	}
}

func printHints(out io.Writer, h admin.Hints) error {
	if !h.Enabled {
		_, err := fmt.Fprintln(out, "hints are switched off on this node (hints.enabled)")
		return err
	}
	var rows [][]string
	for _, t := range h.Targets {
		for _, q := range []struct {
			class string
			admin.HintQueue
		}{{"plain", t.Plain}, {"counted", t.Counted}} {
			if q.Hints == 0 && q.Replayed == 0 {
				continue
			}
			rows = append(rows, []string{
				text.Short(t.Node), yesNo(t.Alive), q.class, strconv.FormatInt(q.Hints, 10), text.Bytes(uint64(q.Bytes)), text.Time(q.Oldest),
				strconv.FormatInt(q.Replayed, 10), text.Bytes(uint64(q.BytesPerSecond)) + "/s", remainingText(q.RemainingSeconds), q.LastError,
			})
		}
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(out, "no hints: every write reached all its replicas, or has been replayed")
		return err
	}
	return text.Table(out, []string{"FOR", "ALIVE", "CLASS", "HINTS", "BYTES", "OLDEST", "REPLAYED", "RATE", "REMAINING", ""}, rows)
}

// remainingText writes an estimate; 0 is none.
func remainingText(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return text.Seconds(seconds)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
