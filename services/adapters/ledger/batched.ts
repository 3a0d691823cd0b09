/**
 * A request in an open batch is COMMITTED; that it is BATCHED, and in which, is said by its row in `unsettled` alone, so that the
 * request itself is not written for it. For statements that read requests `q`:
 */
export const UNSETTLED = 'LEFT JOIN unsettled w ON w.request_id = q.request_id'
export const STATE = `CASE WHEN w.batch_id IS NULL THEN q.state ELSE 'BATCHED' END AS state`
export const BATCH = 'coalesce(q.batch_id, w.batch_id) AS batch_id'
