// Package hlc gives out the times of writes: a hybrid logical clock.
//
// A time must exceed every time its writer had seen, though the clocks of the
// members differ, and must still be close to the time of day. So it counts
// milliseconds like a clock, and events within one millisecond like a Lamport
// clock (Kulkarni, Demirbas, Madappa, Avva, Leone: Logical Physical Clocks,
// OPODIS 2014):
//
//	 63                                    16 15             0
//	+----------------------------------------+----------------+
//	| milliseconds since 1970, UTC           | logical        |   Timestamp
//	+----------------------------------------+----------------+
//
// A logical part that overflows carries into the milliseconds: the clock then
// runs ahead of the time of day until that has caught up.
//
// # One wrong clock
//
// In the paper, a clock that hears of a later time follows it. Then one member
// whose clock says 2080 drags all others there, and for decades no time in the
// cluster means anything. Here a seen time raises only the time of the write
// that saw it, Timestamp.After, and no clock is told. A key with a write from 2080 can be written by whoever
// has read that write; other keys never notice.
//
// The price: a time that was raised above the clock is not remembered, so another
// write may get it again, and later ones a lower one. That is harmless where times only arbitrate between writes that did not see each
// other, and something unique (an actor, a dot) breaks ties.
//
// # What the caller owes, and what this is not
//
// The physical clock is passed in and may jump either way; jumps back do not
// show. The last time is not stored: after a restart with a clock set back,
// times may repeat. Nothing here bounds the error of a physical clock, nor
// measures it.
package hlc
