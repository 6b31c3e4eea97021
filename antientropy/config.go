package antientropy

import (
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/antientropy/purge"
)

// Config says how hard anti-entropy tries.
type Config struct {
	// Settle is how long after a write a leaf is left alone, so that writes under
	// way are not taken for differences.
	Settle time.Duration
	// Deferrals is for how many rounds a range that does not settle is put off,
	// before it is compared anyway.
	Deferrals int
	// Round is the least time between two comparisons of all roots with a peer.
	Round time.Duration
	// Share is the part of one core's time that Step takes at most; HurryShare while
	// some ranges are urgent and Env.Pace is 1, and twice Share unless Env.Pace is 0. What a
	// peer works on an answer counts too, as the time that it took up to PieceTime; what
	// lies above that is waiting.
	Share, HurryShare float64
	// Sessions is how many are open at once, each with another peer. They take turns.
	Sessions int
	// PieceRows and PieceTime bound one walk through rows: of a step here, and of an
	// answer to a peer.
	PieceRows int
	PieceTime time.Duration
	// AnswerBytes bounds an answer to a peer, except that one row goes alone.
	AnswerBytes int
	// Serving is how many answers that read rows are worked on at once; more are
	// refused.
	Serving int
	// CallTimeout bounds a call to a peer.
	CallTimeout time.Duration
	// BackoffMin and BackoffMax bound the pause after a peer's failure.
	BackoffMin, BackoffMax time.Duration
	// Persist is the least time between two writes of what was verified.
	Persist time.Duration
	// Purge says when deletions and expired data go.
	Purge purge.Config
}

// DefaultConfig takes three hundredths of a core.
func DefaultConfig() Config {
	return Config{
		Settle: 10 * time.Second, Deferrals: 30, Round: 10 * time.Second,
		Share: 0.03, HurryShare: 0.25, Sessions: 4,
		PieceRows: 10_000, PieceTime: 2 * time.Millisecond, AnswerBytes: 512 << 10, Serving: 2,
		CallTimeout: 10 * time.Second, BackoffMin: time.Second, BackoffMax: time.Minute,
		Persist: 30 * time.Second, Purge: purge.DefaultConfig(),
	}
}

// Validate reports the first setting that makes no sense.
func (c Config) Validate() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"Settle", c.Settle}, {"Round", c.Round}, {"PieceTime", c.PieceTime}, {"CallTimeout", c.CallTimeout},
		{"BackoffMin", c.BackoffMin}, {"Persist", c.Persist},
	} {
		if d.value <= 0 {
			return fmt.Errorf("antientropy: %s is %s: give more than 0", d.name, d.value)
		}
	}
	switch {
	case c.Share <= 0 || c.Share > 1 || c.HurryShare <= 0 || c.HurryShare > 1:
		return fmt.Errorf("antientropy: Share is %g and HurryShare %g: give more than 0, up to 1", c.Share, c.HurryShare)
	case c.Deferrals < 0:
		return fmt.Errorf("antientropy: Deferrals is %d: give 0 or more", c.Deferrals)
	case c.PieceRows < 1 || c.Serving < 1 || c.Sessions < 1:
		return fmt.Errorf("antientropy: PieceRows is %d, Serving %d and Sessions %d: give at least 1", c.PieceRows, c.Serving, c.Sessions)
	case c.AnswerBytes < 4<<10 || c.AnswerBytes > 1<<20:
		return fmt.Errorf("antientropy: AnswerBytes is %d: give 4 KiB to 1 MiB", c.AnswerBytes)
	case c.BackoffMax < c.BackoffMin:
		return fmt.Errorf("antientropy: BackoffMax is %s, below BackoffMin %s", c.BackoffMax, c.BackoffMin)
	}
	return c.Purge.Validate()
}

// share is the part of one core's time that Step may take, by the pace of urgent work.
func (c *Config) share(urgent bool, pace float64) float64 {
	if !urgent || pace == 0 {
		return c.Share
	}
	return max(c.Share, min(2*c.Share, c.HurryShare), c.HurryShare*pace)
}
