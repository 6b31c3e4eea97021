package main

import (
	"bytes"
	"context"
	_ "embed" // the sample's events
	"fmt"
	"io"
	"strings"

	"github.com/dunlindb/dunlin/client"
)

// sampleEvents are a morning in a small harbour.
//
//go:embed sample/events.ndjson
var sampleEvents []byte

// writeSample loads the sample at quorum, idempotently, and reads a stream of it
// back from all replicas.
func writeSample(ctx context.Context, out io.Writer, urls []string) error {
	nodes := httpFlag{nodes: strings.Join(urls, ",")}
	c, err := nodes.client()
	if err != nil {
		return err
	}
	result, err := c.Load(ctx, loadLines(c, bytes.NewReader(sampleEvents), "line"), client.LoadOptions{Level: "quorum"})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d sample events stored at w=quorum. The stream harbour/tugs, read at r=all:\n", result.Accepted)
	for ev, err := range c.Events(ctx, "harbour/tugs", client.ReadOptions{Level: "all"}) {
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %s  %s  %s\n", ev.Time, ev.Type, ev.Data)
	}
	return nil
}
