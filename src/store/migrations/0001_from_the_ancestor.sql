-- 1: from the ancestor's two tables to ours, in place. Safe to repeat from any point at which it was cut off: a
-- statement that finds its column or key there has been applied before.
--
-- New rows may arrive at any time. `state` is NULL until it is filled, and a NULL state is never claimed, so a
-- finished job of the ancestor can't run again. Rows that arrive while it is filled have the default already, so
-- filling comes to an end, however many there are. The last statement, after which no `state` can be NULL, is the mark
-- of an upgrade that came to its end.

-- Where the server made it so, a first TIMESTAMP becomes that of every change that does not name it. Only texts that would
-- not fit are cut.
-- In pieces.
UPDATE queued_job_log SET msg = LEFT(msg, 16000), created_at = created_at
WHERE LENGTH(CONVERT(msg USING utf8mb4)) > 65535;

-- A line of no job keeps its place in the log.
-- In pieces.
UPDATE queued_job_log SET job_id = COALESCE(job_id, 0), msg = COALESCE(msg, ''), created_at = created_at
WHERE (job_id IS NULL OR msg IS NULL);

ALTER TABLE queued_job_log
    MODIFY id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    MODIFY job_id BIGINT UNSIGNED NOT NULL,
    MODIFY msg TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL,
    MODIFY created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci,
    ENGINE = InnoDB;

ALTER TABLE queued_job_log ADD KEY job_id (job_id);

-- In pieces.
UPDATE queued_job SET last_response = LEFT(last_response, 16000), last_started_at = last_started_at
WHERE LENGTH(CONVERT(last_response USING utf8mb4)) > 65535;

ALTER TABLE queued_job
    ADD COLUMN state ENUM('available', 'executing', 'retryable', 'completed', 'discarded', 'cancelled') NULL,
    ADD COLUMN run_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    ADD COLUMN attempt INT UNSIGNED NOT NULL DEFAULT 0,
    ADD COLUMN claimed_by VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    ADD COLUMN claim_token BIGINT UNSIGNED NULL,
    ADD COLUMN claim_expires_at TIMESTAMP(6) NULL DEFAULT NULL,
    ADD COLUMN created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    MODIFY id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    MODIFY organization_id BIGINT UNSIGNED NULL,
    MODIFY http_method VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL,
    MODIFY url MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL,
    MODIFY body LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NULL,
    MODIFY timeout_secs INT NOT NULL DEFAULT 60,
    MODIFY last_started_at TIMESTAMP NULL DEFAULT NULL,
    MODIFY last_finished_at TIMESTAMP NULL DEFAULT NULL,
    MODIFY last_response TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NULL,
    MODIFY result_code INT NULL COMMENT 'NULL not run, 0 success, 1 permanent failure, 2 temporary failure',
    MODIFY remaining_retries INT NOT NULL DEFAULT 5,
    MODIFY retry_delay_secs INT NOT NULL DEFAULT 60,
    DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci,
    ENGINE = InnoDB;

ALTER TABLE queued_job ALTER COLUMN state SET DEFAULT 'available';

-- Times of zero, which servers without strict mode let in, are no times.
-- In pieces.
UPDATE queued_job SET
    last_started_at = IF(last_started_at = 0, NULL, last_started_at),
    last_finished_at = IF(last_finished_at = 0, NULL, last_finished_at),
    attempt = (last_started_at IS NOT NULL OR result_code IS NOT NULL),
    created_at = COALESCE(last_started_at, created_at),
    run_at = IF(result_code = 2 AND remaining_retries > 0,
        COALESCE(last_finished_at, last_started_at, NOW())
            + INTERVAL LEAST(GREATEST(retry_delay_secs, 0), 31536000) SECOND,
        run_at),
    state = CASE
        WHEN result_code IS NULL THEN 'available'
        WHEN result_code = 0 THEN 'completed'
        WHEN result_code = 2 AND remaining_retries > 0 THEN 'retryable'
        ELSE 'discarded'
    END
WHERE state IS NULL;

ALTER TABLE queued_job ADD KEY state_run_at (state, run_at);

ALTER TABLE queued_job
    MODIFY state ENUM('available', 'executing', 'retryable', 'completed', 'discarded', 'cancelled')
        NOT NULL DEFAULT 'available';
