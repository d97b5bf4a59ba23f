/** For `node --import`: makes a running bridge fail as a mistake of ours would, when it is asked to. */
process.on('SIGUSR2', () => {
  void Promise.reject(new Error('a promise that nobody looks at'))
})
process.on('SIGHUP', () => {
  setImmediate(() => {
    throw new Error('a throw that nobody catches')
  })
})
