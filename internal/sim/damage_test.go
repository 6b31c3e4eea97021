package sim

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// rotKeys are written with values of which a block has few.
const (
	rotKeys   = 200
	rotVictim = 100
)

// rotValue is what is written of a key: nothing that compresses.
func rotValue(key, version int) string {
	random := rand.New(rand.NewPCG(uint64(key), uint64(version)))
	b := make([]byte, 1500)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func (o *outage) put(key, version int) {
	o.t.Helper()
	op := Op{Kind: Put, Key: fmt.Sprint("rot", key), Value: rotValue(key, version), Level: "quorum", Stamped: true}
	if o.client.write(o.t.Context(), &op); op.Result != OK {
		o.t.Fatalf("put %s: %s", op.Key, op.Detail)
	}
}

// expect reads a key at a level, which must succeed and show the version.
func (o *outage) expect(key, version int, level string) {
	o.t.Helper()
	op := Op{Kind: Get, Key: fmt.Sprint("rot", key), Level: level}
	if o.client.read(o.t.Context(), &op); op.Result != OK || op.Value != rotValue(key, version) {
		o.t.Fatalf("get %s at %s: %v, %d bytes, right %v: %s", op.Key, level, op.Result, len(op.Value), op.Value == rotValue(key, version), op.Detail)
	}
}

// rot writes everything, and damages a block of the last node's row store while
// the node is down.
func (o *outage) rot() {
	o.t.Helper()
	for i := range rotKeys {
		o.put(i, 1)
	}
	restart := func() {
		o.c.Stop(2)
		o.c.Start(2)
		if !o.c.awaitReady(o.client) {
			o.t.Fatal(o.c.Problems())
		}
	}
	restart() // what the log had is in tables now
	time.Sleep(time.Minute)
	o.c.Stop(2)
	n, err := o.c.machines[2].disk.Rot("/data/rows", []byte(rotValue(rotVictim, 1)[200:210]))
	if err != nil || n == 0 {
		o.t.Fatalf("%d files are damaged, %v", n, err)
	}
	o.c.Start(2)
	if !o.c.awaitReady(o.client) {
		o.t.Fatal(o.c.Problems())
	}
	o.awaitAlive()
}

// mended waits until the last node serves everything again, and does what is given
// meanwhile.
func (o *outage) mended(meanwhile func()) {
	o.t.Helper()
	for began := time.Now(); o.metric(2, "dunlin_mend_rebuilt_ranges_total") == 0 || o.metric(2, "dunlin_replica_quarantined_ranges") > 0; {
		meanwhile()
		time.Sleep(100 * time.Millisecond)
		if time.Since(began) > 10*time.Minute {
			o.t.Fatalf("%v ranges are still in quarantine", o.metric(2, "dunlin_replica_quarantined_ranges"))
		}
	}
	o.t.Logf("%v ranges were rebuilt, %v rows pulled", o.metric(2, "dunlin_mend_rebuilt_ranges_total"), o.metric(2, "dunlin_antientropy_pulled_rows_total"))
}

// TestDamageIsRebuilt: a block of one replica rots. Reads and writes at quorum go on,
// and never show anything old; the ranges are in quarantine, dropped, filled by
// anti-entropy alone, and served again with everything.
func TestDamageIsRebuilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, 3, mechanisms{antiEntropy: true})
		defer o.end()
		o.rot()
		versions := make([]int, rotKeys)
		for i := range versions {
			versions[i] = 1
		}
		turn := 0
		o.mended(func() {
			for i := range rotKeys {
				o.expect(i, versions[i], "quorum")
			}
			for range 10 { // the victim's neighbours in the file are among them
				key := (rotVictim + turn*7) % rotKeys
				turn++
				versions[key]++
				o.put(key, versions[key])
			}
		})
		if !o.equal(time.Minute) {
			t.Error("the rebuilt replica is not equal to the others")
		}
		for i := range rotKeys {
			o.expect(i, versions[i], "all")
		}
		if rows := o.metric(2, "dunlin_antientropy_pulled_rows_total"); rows == 0 || rows > rotKeys/2 {
			t.Errorf("%v rows were pulled", rows)
		}
	})
}
