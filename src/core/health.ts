/** One thing that has to be true before traffic makes sense. `failure` says why it is not; absent when it is. */
export interface Check {
  readonly name: string
  readonly failure?: string
}
