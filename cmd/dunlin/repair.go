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

func newRepairCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "See how far replicas are equal, or hurry it",
		Long: `Replicas are kept equal in the background, always; there is nothing that has to be
run. status shows how far that is on one node, now hurries it.`,
		Example: "  dunlin repair status\n  dunlin repair now --table dunlin.events",
	}
	cmd.AddCommand(newRepairStatusCommand(), newRepairNowCommand())
	return cmd
}

func newRepairStatusCommand() *cobra.Command {
	return showAnswer(&cobra.Command{
		Use:     "status",
		Short:   "Show when ranges were last seen equal with every peer, and what was repaired",
		Example: "  dunlin repair status\n  dunlin repair status --admin http://127.0.0.2:7483 -o json",
	}, (*client.Admin).Repair, printRepair)
}

func newRepairNowCommand() *cobra.Command {
	var table string
	cmd := showAnswer(&cobra.Command{
		Use:     "now",
		Short:   "Compare everything that one node holds with its peers at once",
		Example: "  dunlin repair now\n  dunlin repair now --table dunlin.events",
	}, func(c *client.Admin, ctx context.Context) (json.RawMessage, error) { return c.RepairNow(ctx, table) }, printRepair)
	cmd.Flags().StringVar(&table, "table", "", "KEYSPACE.TABLE; its whole keyspace is compared. By default everything is")
	return cmd
}

func printRepair(out io.Writer, r admin.Repair) error {
	if !r.Enabled {
		_, err := fmt.Fprintln(out, "anti-entropy is switched off on this node (antientropy.enabled)")
		return err
	}
	left := "not known yet"
	if r.RemainingSeconds > 0 {
		left = text.Seconds(r.RemainingSeconds)
	}
	fmt.Fprintf(out, "complete rounds: %d; this round: %d of %d ranges (by keyspace and peer) seen equal, remaining: %s\n\n",
		r.Round, r.Verified, r.Ranges, left)
	printPurge(out, r.Purge)
	printDamage(out, r)
	var rows [][]string
	for _, t := range r.Tables {
		rows = append(rows, []string{
			t.Name, text.Seconds(t.OldestUnverifiedSeconds), strconv.Itoa(t.NeverVerified),
			fmt.Sprintf("%d of %d", t.DirtyLeaves, t.DirtyLeaves+t.CleanLeaves),
			strconv.FormatUint(t.RowsRepaired, 10), text.Bytes(t.BytesRepaired),
		})
	}
	return text.Table(out, []string{"TABLE", "OLDEST UNVERIFIED", "NEVER VERIFIED", "DIRTY LEAVES", "ROWS REPAIRED", "BYTES REPAIRED"}, rows)
}

// printDamage says what cannot be read, and how far the search for more is.
func printDamage(out io.Writer, r admin.Repair) {
	for _, q := range r.Quarantined {
		fmt.Fprintf(out, "range %d is in quarantine (%s) since %s: %s\n", q.Range, q.Phase, q.Since.Format(time.RFC3339), q.Reason)
	}
	s := r.Scrub
	switch {
	case s.Passed != nil && s.BytesRead == 0:
		fmt.Fprintf(out, "scrub: everything was read until %s, %d damaged leaves found\n\n", s.Passed.Format(time.RFC3339), s.DamagedLeaves)
	default:
		fmt.Fprintf(out, "scrub: %s of about %s read since %s, %d damaged leaves found\n\n",
			text.Bytes(s.BytesRead), text.Bytes(s.BytesTotal), s.Started.Format(time.RFC3339), s.DamagedLeaves)
	}
}

// printPurge says whether deletions and expired data go.
func printPurge(out io.Writer, p admin.Purge) {
	for _, b := range p.Blocked {
		fmt.Fprintf(out, "purge blocked by node %s since %s: it %s\n", b.Node, b.Since.Format(time.RFC3339), b.Reason)
	}
	if p.Waiting == nil {
		fmt.Fprint(out, "purge: no deletion or expired data waits, as far as is hashed\n")
		return
	}
	fmt.Fprintf(out, "purge: the oldest deletion or expired data still stored is of %s\n", p.Waiting.Format(time.RFC3339))
}
