package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/admin"
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
	var port adminFlag
	var output outputFlag
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show when ranges were last seen equal with every peer, and what was repaired",
		Example: "  dunlin repair status\n  dunlin repair status --admin http://127.0.0.2:7483 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := port.client()
			if err != nil {
				return &usageError{err}
			}
			raw, err := c.Repair(cmd.Context())
			if err != nil {
				return fmt.Errorf("repair status: %w", err)
			}
			return showRepair(cmd.OutOrStdout(), output, raw)
		},
	}
	output.add(cmd, "table", "json")
	port.add(cmd)
	return cmd
}

func newRepairNowCommand() *cobra.Command {
	var port adminFlag
	var output outputFlag
	var table string
	cmd := &cobra.Command{
		Use:     "now",
		Short:   "Compare everything that one node holds with its peers at once",
		Example: "  dunlin repair now\n  dunlin repair now --table dunlin.events",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := port.client()
			if err != nil {
				return &usageError{err}
			}
			raw, err := c.RepairNow(cmd.Context(), table)
			if err != nil {
				return fmt.Errorf("repair now: %w", err)
			}
			return showRepair(cmd.OutOrStdout(), output, raw)
		},
	}
	cmd.Flags().StringVar(&table, "table", "", "KEYSPACE.TABLE; its whole keyspace is compared. By default everything is")
	output.add(cmd, "table", "json")
	port.add(cmd)
	return cmd
}

// showRepair prints what anti-entropy says of itself.
func showRepair(out io.Writer, output outputFlag, raw json.RawMessage) error {
	var r admin.Repair
	return show(out, output, raw, &r, func(out io.Writer) error { return printRepair(out, r) })
}

func printRepair(out io.Writer, r admin.Repair) error {
	if !r.Enabled {
		_, err := fmt.Fprintln(out, "anti-entropy is switched off on this node (antientropy.enabled)")
		return err
	}
	left := "not known yet"
	if r.RemainingSeconds > 0 {
		left = secondsText(r.RemainingSeconds)
	}
	fmt.Fprintf(out, "complete rounds: %d; this round: %d of %d ranges (by keyspace and peer) seen equal, remaining: %s\n\n",
		r.Round, r.Verified, r.Ranges, left)
	var rows [][]string
	for _, t := range r.Tables {
		rows = append(rows, []string{
			t.Name, secondsText(t.OldestUnverifiedSeconds), strconv.Itoa(t.NeverVerified),
			fmt.Sprintf("%d of %d", t.DirtyLeaves, t.DirtyLeaves+t.CleanLeaves),
			strconv.FormatUint(t.RowsRepaired, 10), bytesText(t.BytesRepaired),
		})
	}
	return printTable(out, []string{"TABLE", "OLDEST UNVERIFIED", "NEVER VERIFIED", "DIRTY LEAVES", "ROWS REPAIRED", "BYTES REPAIRED"}, rows)
}

// secondsText writes a length of time in whole seconds.
func secondsText(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
