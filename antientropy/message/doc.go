// Package message is what nodes ask each other to make ranges equal, as bytes.
//
// Every message begins with its version; others are refused. Decoders check all
// lengths before they allocate, take no more than is there, and refuse what is
// left over. What they return aliases the message.
package message
