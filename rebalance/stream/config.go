package stream

import (
	"fmt"
	"runtime"
	"time"
)

// Config bounds the filling of ranges, on both sides.
type Config struct {
	// PageBytes bounds the entries of a page, except that one goes alone.
	PageBytes int
	// PageRows bounds the rows that are read for a page, whatever of them travels.
	PageRows int
	// Serving is how many pages are read for others at once; more are refused.
	Serving int
	// Filling is how many targets are filled at once; more wait.
	Filling int
	// BytesPerSecond bounds what all targets together are filled with.
	BytesPerSecond int
	// Rest is for how many times as long as a page has taken its target rests, at full
	// pace.
	Rest float64
	// PersistPages is after how many pages the position is persisted.
	PersistPages int
	// Tries is how many times in a row one page may fail for reasons that pass.
	Tries int
	// PauseMin and PauseMax bound the pause after such a failure, which doubles.
	PauseMin, PauseMax time.Duration
	// CallTimeout bounds a call to the source, and the storing of a page.
	CallTimeout time.Duration
}

// DefaultConfig fills with at most 64 MiB a second, and as many targets at once as half
// of the cores.
func DefaultConfig() Config {
	return Config{
		PageBytes: 64 << 10, PageRows: 10_000, Serving: 2, Filling: max(1, runtime.GOMAXPROCS(0)/2), BytesPerSecond: 64 << 20, Rest: 1, PersistPages: 64,
		Tries: 8, PauseMin: 50 * time.Millisecond, PauseMax: 5 * time.Second, CallTimeout: 15 * time.Second,
	}
}

// Validate reports the first bound that makes no sense.
func (c Config) Validate() error {
	for _, n := range []struct {
		name        string
		value, most int
	}{
		{"PageBytes", c.PageBytes, bytesMax}, {"PageRows", c.PageRows, 1 << 30}, {"Serving", c.Serving, 1 << 10}, {"Filling", c.Filling, 1 << 10},
		{"BytesPerSecond", c.BytesPerSecond, 1 << 40}, {"PersistPages", c.PersistPages, 1 << 20}, {"Tries", c.Tries, 1 << 10},
	} {
		if n.value < 1 || n.value > n.most {
			return fmt.Errorf("stream: %s is %d: give 1 to %d", n.name, n.value, n.most)
		}
	}
	switch {
	case c.Rest < 0 || c.Rest > 100:
		return fmt.Errorf("stream: Rest is %g: give 0 to 100", c.Rest)
	case c.PauseMin <= 0 || c.PauseMax < c.PauseMin:
		return fmt.Errorf("stream: PauseMin is %s and PauseMax %s: give more than 0, and no less", c.PauseMin, c.PauseMax)
	case c.CallTimeout <= 0:
		return fmt.Errorf("stream: CallTimeout is %s: give more than 0", c.CallTimeout)
	}
	return nil
}
