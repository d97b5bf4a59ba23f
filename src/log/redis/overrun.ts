/** What this node was to read next is gone: the log was trimmed faster than it has read, or somebody has taken something out of it. */
export class Overrun extends Error {
  constructor() {
    super('the log was trimmed faster than this node has read it')
    this.name = 'Overrun'
  }
}
