// Package node wires the packages of Dunlin into one running node. It is the
// only place that knows how they fit together: everything below it states what
// it needs as a small interface or a function, and gets it here.
//
// Open acquires what can fail at once (the data directory, the listeners) and
// starts no goroutine; Run starts the parts in the order of the diagram, waits,
// and stops them in reverse:
//
//	         start                                    stop
//	 1  storage      stores, identity, boot number     9   (Close)
//	 2  clock        ceiling reserved on disk          8
//	 3  admin        health is visible from here on    7
//	 4  transport    other nodes may call              6
//	 5  catalog      bootstrap, join or catch up       -
//	 6  membership   gossip, with the catalog's key    5
//	 7  jobs         background steps, hints,          4
//	                 anti-entropy
//	 8  coordinator  stragglers drain here             3
//	 9  http         clients are served                2
//	10  ready        /readyz answers 200               1
//
// A Group owns every goroutine started here and waits for it. The network, the
// file system, the physical clock and randomness are passed in, so that the
// simulator runs exactly this code in virtual time.
package node
