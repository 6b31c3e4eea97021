// Package space refuses writes before the disk is full.
//
// A log that cannot be written ends the node, and compactions need room to give
// space back: so a reserve is kept from ordinary writes. Those that lead to space
// being freed, deletions, may use half of it; purging takes what it needs.
package space
