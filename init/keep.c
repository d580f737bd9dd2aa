/* The keeper of namespaces: it is there, and does nothing (`pier-init keep`).  Whoever wants to come back into the
 * namespaces finds them through it; they end with it, unless others are in them. */
#include "launch.h"

_Noreturn void keeper_main(void)
{
	for (;;) /* a signal that does not end us interrupts it */
		sys(ppoll, NULL, 0, NULL, NULL, 8);
}
