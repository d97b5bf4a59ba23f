/** The time of this process, as the test has it. */
export interface TestClock {
  pass(ms: number): void
  [Symbol.dispose](): void
}

/**
 * Stops the time that this process reads: it goes on when the test says so. What ends at a moment neither ends before the test has got there, on a machine
 * that is busy, nor is waited for. To be called before what reads the time is started; timers run on.
 */
export function stopClock(): TestClock {
  const actual = Date.now
  let now = actual()
  Date.now = () => now
  return {
    pass(ms) {
      now += ms
    },
    [Symbol.dispose]() {
      Date.now = actual
    },
  }
}
